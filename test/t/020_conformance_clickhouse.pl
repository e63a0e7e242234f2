# The conformance suite for backend clickhouse, with the real engine: see
# test/conformance/README.md.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../conformance/lib";

use Test::More;

use ClickHousePeer;
use Conformance;

plan skip_all => clickhouse_hindrance() if defined clickhouse_hindrance();

conformance_run(conformance_store('clickhouse'));
done_testing();
