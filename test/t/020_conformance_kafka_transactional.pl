# The conformance suite for backend kafka with transactions, with a real broker:
# see test/conformance/README.md.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../conformance/lib";

use Test::More;

use Conformance;
use KafkaPeer;

plan skip_all => kafka_hindrance() if kafka_hindrance();

conformance_run(conformance_store('kafka_transactional'));
done_testing();
