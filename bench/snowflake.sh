# shellcheck shell=bash
#
# snowflake.sh
#	Benchmarks of the Snowflake backend.  Part of bench/run, which see.
#
# The store is the strict double of test/peers/snowflake with its executor
# switched off: what is measured is everything but Snowflake, on the same
# processors as the double, which is a program in Python.
#
# shellcheck disable=SC2154	# what bench/run assigns

# The columns of a batch to JSON and to compressed lines, without a network.
bench_snowflake_encode()
{
	local size

	gcc -O2 -fno-strict-aliasing -fwrapv -D_GNU_SOURCE \
		"-I$here/src/include" "-I$here/test/unit" \
		"-I$("$PG_CONFIG" --includedir-server)" \
		-o "$WORK/snowflake_encode" "$here/bench/snowflake_encode.c" \
		"$here/bench/encode_batch.c" \
		"$here/backends/snowflake/encode.c" \
		"$here/backends/snowflake/ndjson.c" \
		"$here/backends/snowflake/names.c" \
		"$here/backends/snowflake/columns.c" \
		"$here/backends/common/tl_columns.c" \
		"$here/backends/common/tl_json.c" "$here/backends/common/tl_text.c" \
		"$here/test/unit/stubs.c" \
		"-L$("$PG_CONFIG" --pkglibdir)" "-L$("$PG_CONFIG" --libdir)" \
		-lpgcommon -lpgport -ljson-c -lzstd -lm || exit 1
	for size in 1500 5000; do
		report encode "snowflake, batches of $size: $("$WORK/snowflake_encode" "$size")"
	done
}

start_snowflake()
{
	local deadline=$((SECONDS + 120))

	[ -z "${SNOWFLAKE_PORT:-}" ] || return 0
	provide_snowflake ||
		{ say "$TOKENLEDGER_SNOWFLAKE_PYTHON_MISSING"; return 1; }
	mkdir "$WORK/snowflake"
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 \
		-out "$WORK/server/snowflake.pem" 2>/dev/null &&
		openssl pkey -in "$WORK/server/snowflake.pem" -pubout \
			-out "$WORK/snowflake/key.pub" || return 1
	chmod 600 "$WORK/server/snowflake.pem"
	is_root && chown nobody "$WORK/server/snowflake.pem"
	"$TOKENLEDGER_SNOWFLAKE_PYTHON" -B "$here/test/peers/snowflake/server.py" \
		--data "$WORK/snowflake" --port-file "$WORK/snowflake/port" \
		--public-key "$WORK/snowflake/key.pub" --no-executor \
		>"$WORK/snowflake.log" 2>&1 &
	SNOWFLAKE_PID=$!
	until [ -s "$WORK/snowflake/port" ]; do
		[ $SECONDS -lt $deadline ] && kill -0 "$SNOWFLAKE_PID" || return 1
		read -r -t 0.05 <> <(:) || true
	done
	SNOWFLAKE_PORT=$(<"$WORK/snowflake/port")
}

# snowflake_drain LANES OPTIONS: seconds until the ledger has gone.
snowflake_drain()
{
	SERIAL=$((SERIAL + 1))
	target "sf$SERIAL" "snowflake://myorg-myaccount/app/ledger?table=t$SERIAL&user=ledger&warehouse=wh&private_key_file=$WORK/server/snowflake.pem&endpoint=http://127.0.0.1:$SNOWFLAKE_PORT&lanes=$1&$2" "$1"
	drain "sf$SERIAL"
}

bench_snowflake()
{
	local mode options lanes times i

	start_snowflake || return
	filled
	for mode in sql streaming; do
		options="mode=$mode"
		[ $mode = sql ] || options="$options&batch_rows=10000"
		for lanes in 1 4; do
			times=()
			for ((i = 0; i < ROUNDS; i++)); do
				times+=("$(snowflake_drain "$lanes" "$options")") || exit
				SERIAL=$((SERIAL + 1))	# as the function did in its subshell
			done
			report snowflake "mode=$mode, $lanes lanes: $(rate "$ROWS" "$(printf '%s\n' "${times[@]}" | median)") events/s, nothing executed"
		done
	done
}
