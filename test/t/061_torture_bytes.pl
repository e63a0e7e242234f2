# A bounded part of test/torture/bytes: connections that are reset at some
# positions of what passes on them.  TORTURE_EVERY=1 makes it all of them.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;
my @command = (
	$^X, "$FindBin::RealBin/../torture/bytes",
	'--seed', $seed,
	'--every', $ENV{TORTURE_EVERY} // 60,
	'--dir', "$PostgreSQL::Test::Utils::tmp_check/torture");

delete local $ENV{PG_CONFIG};
open my $run, '-|', @command or die "$command[1]: $!";
my @said = <$run>;
my $sound = close $run;

diag("seed $seed");
note(@said);
ok($sound, 'nothing was lost and nothing doubled') or diag(@said);
my @rows = map { [ (split)[ -3, -2 ] ] } grep { /^(batch|connection) / } @said;
is(scalar @rows, 8, 'each part was swept');
ok(!(grep { $_->[1] == 0 } @rows), 'and connections were cut in each')
  or diag(@said);

done_testing();
