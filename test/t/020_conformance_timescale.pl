# The conformance suite for backend timescale: see test/conformance/README.md.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../conformance/lib";

use Test::More;

use Conformance;
use TimescaleStore;

plan skip_all => timescale_missing() if timescale_missing();
conformance_run(conformance_store('timescale'));
done_testing();
