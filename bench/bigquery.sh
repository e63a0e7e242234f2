# shellcheck shell=bash
#
# bigquery.sh
#	Benchmarks of the BigQuery backend.  Part of bench/run, which see.
#
# The store is the strict double of test/peers/bigquery, on the same processors
# as everything else: what is compared is what it takes from us and from
# Google's own client, which sends the same rows, as we have encoded them.
#
# shellcheck disable=SC2154	# what bench/run assigns

# The columns of a batch to AppendRowsRequest, without a network.
bench_bigquery_encode()
{
	local size

	gcc -O2 -fno-strict-aliasing -fwrapv -D_GNU_SOURCE \
		"-I$here/src/include" "-I$here/test/unit" \
		"-I$("$PG_CONFIG" --includedir-server)" \
		-o "$WORK/bigquery_encode" "$here/bench/bigquery_encode.c" \
		"$here/bench/encode_batch.c" \
		"$here/backends/bigquery/encode.c" \
		"$here/backends/bigquery/columns.c" \
		"$here/backends/common/tl_columns.c" \
		"$here/backends/common/tl_json.c" "$here/test/unit/stubs.c" \
		"-L$("$PG_CONFIG" --pkglibdir)" "-L$("$PG_CONFIG" --libdir)" \
		-lpgcommon -lpgport -ljson-c -lm || exit 1
	for size in 1000 10000; do
		report encode "bigquery, batches of $size: $("$WORK/bigquery_encode" "$size") (asked: 300000 rows/s)"
	done
}

start_bigquery()
{
	local deadline=$((SECONDS + 120))

	[ -z "${BIGQUERY_REST:-}" ] || return 0
	provide_bigquery || { say "$TOKENLEDGER_BIGQUERY_PEER_MISSING"; return 1; }
	mkdir "$WORK/bigquery"
	"$TOKENLEDGER_BIGQUERY_PEER" --data "$WORK/bigquery" \
		>"$WORK/bigquery.log" 2>&1 &
	BIGQUERY_PID=$!
	until [ -s "$WORK/bigquery/ports" ]; do
		[ $SECONDS -lt $deadline ] && kill -0 "$BIGQUERY_PID" || return 1
		read -r -t 0.05 <> <(:) || true
	done
	read -r BIGQUERY_REST BIGQUERY_GRPC <"$WORK/bigquery/ports"
}

# bigquery_drain LANES [OPTIONS]: seconds until the ledger is in a table of its
# own, as often as the double says that its rows are there.
bigquery_drain()
{
	SERIAL=$((SERIAL + 1))
	target "bq$SERIAL" "bigquery://p/d?table=t$SERIAL&auth=none&expiration=0&endpoint=http://127.0.0.1:$BIGQUERY_REST&grpc_endpoint=http://127.0.0.1:$BIGQUERY_GRPC&lanes=$1${2:+&$2}" "$1"
	drain "bq$SERIAL"
	curl -sS --fail-with-body \
		"http://127.0.0.1:$BIGQUERY_REST/bigquery/v2/projects/p/datasets/d/tables/t$SERIAL" |
		grep -q "\"numRows\":\"$ROWS\"" || exit 1
}

bench_bigquery()
{
	start_bigquery || return
	filled
	bigquery_beside_google 1 "one lane"
	bigquery_beside_google 2 "two lanes"
}

# bigquery_beside_google LANES WORDS: Google's client writes into the table that we
# have filled, with as many requests at a time.
bigquery_beside_google()
{
	local ours=() google=() i a b

	for ((i = 0; i < ROUNDS; i++)); do
		ours+=("$(bigquery_drain "$1" batch_rows=10000)") || exit
		SERIAL=$((SERIAL + 1))	# as the function did in its subshell
		google+=("$("$TOKENLEDGER_BIGQUERY_PEER" bench-client \
			--grpc "127.0.0.1:$BIGQUERY_GRPC" --in-flight "$1" \
			--log "$WORK/bigquery/log" --from "p/d/t$SERIAL" \
			--table "projects/p/datasets/d/tables/t$SERIAL")") || exit 1
	done
	a=$(rate "$ROWS" "$(printf '%s\n' "${ours[@]}" | median)")
	b=$(printf '%s\n' "${google[@]}" | median)
	report bigquery "$2 $a events/s, Google's client with the rows made beforehand $b: ratio $(ratio "$a" "$b") (asked: 0.80)"
}
