# shellcheck shell=bash
#
# kafka.sh
#	Benchmark of the Kafka backend.  Part of bench/run, which see.
#
# The broker of the tests runs beside everything else, on the same processors.
# What one lane does is compared with what librdkafka does when it is given the
# same messages ready-made (kafka_produce.c).
#
# shellcheck disable=SC2154	# what bench/run assigns

start_kafka()
{
	local dir=$WORK/kafka deadline=$((SECONDS + 90))

	[ -z "${KAFKA_PORT:-}" ] || return 0
	provide_kafka || { say "$TOKENLEDGER_KAFKA_MISSING"; return 1; }
	mkdir "$dir"
	cat >"$dir/server.properties" <<-EOC
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:54342
		listeners=PLAINTEXT://127.0.0.1:54341,CONTROLLER://127.0.0.1:54342
		controller.listener.names=CONTROLLER
		log.dirs=$dir/data
		num.partitions=3
		offsets.topic.replication.factor=1
		offsets.topic.num.partitions=3
		transaction.state.log.replication.factor=1
		transaction.state.log.num.partitions=3
		transaction.state.log.min.isr=1
	EOC
	(kafka_java kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ \
		-c "$dir/server.properties" >"$dir/log" 2>&1) || return 1
	kafka_java kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 &
	KAFKA_PID=$!
	KAFKA_PORT=54341
	until kcat -L -m 2 -b "127.0.0.1:$KAFKA_PORT" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] && kill -0 "$KAFKA_PID" || return 1
	done
}

kafka_java()
{
	exec java -Xmx512m -XX:+UseSerialGC "-Djava.io.tmpdir=$WORK" -cp "$TOKENLEDGER_KAFKA/*" "$@"
}

stop_kafka()
{
	kill "$KAFKA_PID" && wait "$KAFKA_PID" 2>/dev/null
	KAFKA_PORT='' KAFKA_PID=''
}

# kafka_drain: seconds until the ledger is in a topic of its own, and
# the lane's processor time.
kafka_drain()
{
	local pid before seconds

	target "kf$SERIAL" "tokenledger+kafka://127.0.0.1:$KAFKA_PORT/t$SERIAL?batch_rows=100000&claim_rows=100000" 1
	await "select remote_version from token_ledger.status where target = 'kf$SERIAL'" 103
	pid=$(app "select pid from token_ledger.lanes where target = 'kf$SERIAL'")
	before=$(cpu_seconds "$pid")
	seconds=$(drain "kf$SERIAL")
	awk -v s="$seconds" -v a="$before" -v b="$(cpu_seconds "$pid")" \
		'BEGIN { printf "%.3f %.3f\n", s, b - a }'
}

cpu_seconds()
{
	awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$1/stat"
}

# microseconds SECONDS...: their median, for each event
microseconds()
{
	printf '%s\n' "$@" | median | awk -v n="$ROWS" '{ printf "%.1f", $1 / n * 1e6 }'
}

bench_kafka()
{
	local i line plain=() bare=() bare_cpu=() a c cpu=()

	filled
	start_kafka || return
	gcc -O2 -o "$WORK/produce" "$here/bench/kafka_produce.c" -lrdkafka || return
	for ((i = 0; i < ROUNDS; i++)); do
		SERIAL=$((SERIAL + 1))	# here: the function runs in a subshell
		line=$(kafka_drain)
		plain+=("${line% *}")
		cpu+=("${line#* }")
		[ $i -gt 0 ] || kcat -C -q -e -b "127.0.0.1:$KAFKA_PORT" \
			-t "t$SERIAL" -o beginning >"$WORK/messages"
		line=$("$WORK/produce" "127.0.0.1:$KAFKA_PORT" "bare$i" <"$WORK/messages") || return
		bare+=("${line%% *}")
		bare_cpu+=("${line##* }")
	done
	stop_kafka
	a=$(printf '%s\n' "${plain[@]}" | median)
	c=$(printf '%s\n' "${bare[@]}" | median)
	report kafka "one lane $(rate "$ROWS" "$a") events/s, librdkafka alone $(rate "$ROWS" "$c"): ratio $(ratio "$c" "$a") (asked: 100000 events/s or a ratio of 1)"
	report kafka "$(($(wc -c <"$WORK/messages") / ROWS)) bytes a message; of the processor each takes $(microseconds "${cpu[@]}") us in the lane, librdkafka's threads included, and $(microseconds "${bare_cpu[@]}") us with librdkafka alone"
}
