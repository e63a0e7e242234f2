# A bounded part of test/torture/failover: a primary dies under load, and a
# standby that has not heard of everything takes over.  TORTURE_SEED and
# TORTURE_ROUNDS make it another one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;
my @command = (
	$^X, "$FindBin::RealBin/../torture/failover",
	'--seed', $seed,
	'--rounds', $ENV{TORTURE_ROUNDS} // 2,
	'--dir', "$PostgreSQL::Test::Utils::tmp_check/torture");

delete local $ENV{PG_CONFIG};
open my $run, '-|', @command or die "$command[1]: $!";
my @said = <$run>;
my $sound = close $run;

diag("seed $seed");
note(@said);
ok($sound, 'nothing else was lost and nothing doubled') or diag(@said);
my ($row) = grep { /^ +$seed +\d/ } @said;
my (undef, undef, $events) = split / +/, $row // '';
cmp_ok($events // 0, '>', 0, 'and events were there');

done_testing();
