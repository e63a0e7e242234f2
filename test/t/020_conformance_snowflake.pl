# The conformance suite for backend snowflake, with the strict double, whose
# SQL a public emulator executes: see
# test/conformance/README.md.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../conformance/lib";

use Test::More;

use SnowflakePeer;
use Conformance;

plan skip_all => snowflake_hindrance() if defined snowflake_hindrance();

conformance_run(conformance_store('snowflake'));
done_testing();
