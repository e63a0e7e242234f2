# A bounded part of test/torture/run: 20 to 150 kills, as many as the machine has
# time for.
use strict;
use warnings FATAL => 'all';

use BoundedTorture;

bounded_torture('postgres', undef,
	kills => 150,
	seconds => 100,
	least => 20,
	writers => 4,
	drain => 120);
