# A bounded part of test/torture/run --store snowflake: its double is killed,
# answers with errors, or does not answer, in both modes, while lanes and servers
# are killed.
use strict;
use warnings FATAL => 'all';

use BoundedTorture;
use SnowflakePeer;

bounded_torture('snowflake', snowflake_hindrance());
