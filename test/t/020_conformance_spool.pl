# The conformance suite for backend spool: see test/conformance/README.md.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../conformance/lib";

use Test::More;

use Conformance;

conformance_run(conformance_store('spool'));
done_testing();
