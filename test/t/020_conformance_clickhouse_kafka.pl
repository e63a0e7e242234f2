# The conformance suite for backend clickhouse-kafka, with a real broker and
# ClickHouse's engine: see test/conformance/README.md.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../conformance/lib";

use PostgreSQL::Test::Utils;
use Test::More;

use ClickHousePeer;
use Conformance;
use KafkaPeer;

my $libdir = qx("$ENV{PG_CONFIG}" --pkglibdir);

chomp $libdir;
plan skip_all => kafka_hindrance() if kafka_hindrance();
plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();
plan skip_all => 'backend clickhouse-kafka was not built'
  unless -e "$libdir/tokenledger_clickhouse-kafka.so";

conformance_run(conformance_store('clickhouse_kafka'));
done_testing();
