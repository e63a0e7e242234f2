# The conformance suite for backend bigquery, with the strict double: see
# test/conformance/README.md.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../conformance/lib";

use Test::More;

use BigQueryPeer;
use Conformance;

plan skip_all => bigquery_hindrance() if defined bigquery_hindrance();

conformance_run(conformance_store('bigquery'));
done_testing();
