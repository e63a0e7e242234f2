# shellcheck shell=bash
#
# clickhouse.sh
#	Benchmarks of the ClickHouse backend.  Part of bench/run, which see.
#
# The engine runs in the server of test/peers/clickhouse, on the same
# processors as everything else; whoever sends, sends through its one port.
#
# shellcheck disable=SC2154	# what bench/run assigns

CLICKHOUSE_CONNECT_VERSION=1.12.0
PSYCOPG_VERSION=3.3.9

# The columns of a batch to a body of FORMAT Native, without a network.
bench_encode()
{
	local sources=() name size line

	for name in encode dictionary columns compress; do
		sources+=("$here/backends/clickhouse/$name.c")
	done
	gcc -O2 -fno-strict-aliasing -fwrapv -D_GNU_SOURCE \
		"-I$here/src/include" "-I$here/test/unit" \
		"-I$("$PG_CONFIG" --includedir-server)" \
		-o "$WORK/encode" "$here/bench/clickhouse_encode.c" \
		"${sources[@]}" "$here/backends/common/tl_columns.c" \
		"$here/test/unit/stubs.c" \
		"-L$("$PG_CONFIG" --pkglibdir)" "-L$("$PG_CONFIG" --libdir)" \
		-lpgcommon -lpgport -lzstd -llz4 -lm || exit 1
	for size in 10000 100000; do
		"$WORK/encode" "$size" | while read -r line; do
			report encode "blocks of $size: $line (asked of none: 1000000)"
		done
	done
}

# ask_engine STATEMENT [CURL OPTION...]
ask_engine()
{
	local statement=$1

	shift
	curl -sS --fail-with-body --data-binary "$statement" "$@" "$ENGINE/"
}

start_clickhouse()
{
	local data=$WORK/clickhouse deadline=$((SECONDS + 60))

	[ -z "${ENGINE:-}" ] || return 0
	provide_clickhouse || { say "$TOKENLEDGER_CHDB_PYTHON_MISSING"; return 1; }
	"$TOKENLEDGER_CHDB_PYTHON" "$here/test/peers/clickhouse/server.py" \
		--port 0 --data "$data" --port-file "$WORK/clickhouse.port" \
		>"$WORK/clickhouse.log" 2>&1 &
	ENGINE_PID=$!
	until [ -s "$WORK/clickhouse.port" ]; do
		[ $SECONDS -lt $deadline ] && kill -0 "$ENGINE_PID" || return 1
		read -r -t 0.05 <> <(:) || true
	done
	ENGINE=http://127.0.0.1:$(cat "$WORK/clickhouse.port")
}

# clickhouse_drain LANES [OPTIONS]: seconds until the ledger is in a table of
# its own.
clickhouse_drain()
{
	SERIAL=$((SERIAL + 1))
	target "ch$SERIAL" "clickhouse://${ENGINE#http://}/default?table=t$SERIAL&ttl=0&lanes=$1${2:+&$2}" "$1"
	drain "ch$SERIAL"
	[ "$(ask_engine "SELECT count() FROM t$SERIAL")" = "$ROWS" ] || exit 1
}

# Those of a benchmark that is over.
forget_tables()
{
	local n

	for ((n = 1; n <= SERIAL; n++)); do
		ask_engine "DROP TABLE IF EXISTS t$n SYNC"
	done
}

# native_files ROWS: the events as files of so many rows each, which the engine
# itself wrote, and for each of two senders a list of them for curl.
native_files()
{
	local dir=$WORK/native i

	rm -rf "$dir"
	mkdir "$dir"
	for ((i = 0; i * $1 < ROWS; i++)); do
		ask_engine "SELECT * FROM t$SERIAL ORDER BY event_id LIMIT $1
			OFFSET $((i * $1)) FORMAT Native SETTINGS max_block_size = $1" \
			-o "$dir/$i" || exit 1
		[ $i -lt 2 ] || echo next >>"$dir/list$((i % 2))"
		printf 'url = "%s/?query=INSERT%%20INTO%%20native%%20FORMAT%%20Native&async_insert=0&wait_end_of_query=1"\ndata-binary = "@%s"\nsilent\nfail\n' \
			"$ENGINE" "$dir/$i" >>"$dir/list$((i % 2))"
	done
}

# Seconds until both senders have sent their files.
native_drain()
{
	local begin

	ask_engine "DROP TABLE IF EXISTS native SYNC"
	ask_engine "CREATE TABLE native AS t$SERIAL"
	begin=$(now)
	curl -K "$WORK/native/list0" & curl -K "$WORK/native/list1" && wait $!
	since "$begin"
	[ "$(ask_engine 'SELECT count() FROM native')" = "$ROWS" ] || exit 1
}

bench_clickhouse()
{
	local size kind i ours=() ready=() a b

	start_clickhouse || return
	filled
	for size in 10000 100000; do
		ours=() ready=()
		for ((i = 0; i < ROUNDS; i++)); do
			ours+=("$(clickhouse_drain 2 "batch_rows=$size&claim_rows=$size&batch_bytes=64MB&compression=none")") || exit
			SERIAL=$((SERIAL + 1))
			[ $i -gt 0 ] || native_files "$size"
			ready+=("$(native_drain)") || exit
		done
		a=$(printf '%s\n' "${ours[@]}" | median)
		b=$(printf '%s\n' "${ready[@]}" | median)
		report clickhouse "$size rows a batch, two lanes $(rate "$ROWS" "$a") events/s, ready-made files $(rate "$ROWS" "$b"): ratio $(ratio "$b" "$a") (asked: 0.80)"
		forget_tables
	done
	for kind in none lz4 zstd; do
		ours=()
		for ((i = 0; i < ROUNDS; i++)); do
			ours+=("$(clickhouse_drain 2 "compression=$kind")") || exit
			SERIAL=$((SERIAL + 1))
		done
		report clickhouse "$kind: $(rate "$ROWS" "$(printf '%s\n' "${ours[@]}" | median)") events/s"
		forget_tables
	done
}

# What people do without us: in one process each, and nobody asks what
# arrived.
bench_exporters()
{
	local ours=() copy=() python=() i venv a

	start_clickhouse || return
	filled
	venv=$(install_peer "connect-$CLICKHOUSE_CONNECT_VERSION-$PSYCOPG_VERSION" \
		install_exporter) || { say "no Python clients"; return; }
	for ((i = 0; i < ROUNDS; i++)); do
		ours+=("$(clickhouse_drain 1)") || exit
		SERIAL=$((SERIAL + 1))
		copy+=("$(export_by copy_and_curl)") || exit
		python+=("$(export_by python_client "$venv")") || exit
	done
	a=$(printf '%s\n' "${ours[@]}" | median)
	report exporters "one lane $(rate "$ROWS" "$a") events/s,\
 COPY csv | curl $(rate "$ROWS" "$(printf '%s\n' "${copy[@]}" | median)"),\
 psycopg and clickhouse-connect $(rate "$ROWS" "$(printf '%s\n' "${python[@]}" | median)")"
	forget_tables
}

# export_by COMMAND...: seconds until all events are in a new table.
export_by()
{
	local begin

	ask_engine "DROP TABLE IF EXISTS exported SYNC"
	ask_engine "CREATE TABLE exported AS t$SERIAL"
	EXPORTED=$(ask_engine "SELECT arrayStringConcat(groupArray(name), ',')
		FROM (SELECT name FROM system.columns WHERE table = 'exported'
		AND database = currentDatabase() ORDER BY position)")
	begin=$(now)
	"$@" || exit 1
	since "$begin"
	[ "$(ask_engine 'SELECT count() FROM exported')" = "$ROWS" ] || exit 1
}

copy_and_curl()
{
	app "copy (select $EXPORTED from token_ledger.token_ledger_events)
		to stdout (format csv, null '\\N')" |
		curl -sS --fail-with-body -T - -X POST \
			"$ENGINE/?query=INSERT%20INTO%20exported%20FORMAT%20CSV&date_time_input_format=best_effort"
}

python_client()
{
	"$1/bin/python" "$here/bench/clickhouse_client.py" "${ENGINE##*:}" \
		"$EXPORTED"
}

install_exporter()
{
	"$(venv_python)" -m venv "$1" &&
		"$1/bin/python" -m pip install --disable-pip-version-check -q \
			"clickhouse-connect==$CLICKHOUSE_CONNECT_VERSION" \
			"psycopg[binary]==$PSYCOPG_VERSION"
}
