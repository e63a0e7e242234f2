#!/bin/sh
# Exits 0 if this backend can be built here; else prints why not.
missing() { echo "$1 (Debian: librdkafka-dev)"; exit 1; }
old() { printf '#include <librdkafka/rdkafka.h>\n#if RD_KAFKA_VERSION < 0x02000000\n#error\n#endif\n'; }

echo '#include <librdkafka/rdkafka.h>' | ${CC:-cc} -E -x c - >/dev/null 2>&1 ||
	missing 'librdkafka/rdkafka.h not found'
old | ${CC:-cc} -E -x c - >/dev/null 2>&1 || missing 'librdkafka is older than 2.0'
