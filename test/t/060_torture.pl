# A bounded part of test/torture/run: 20 to 150 kills, as many as the machine has
# time for.  TORTURE_SEED, TORTURE_KILLS and TORTURE_SECONDS make it another one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;
my @command = (
	$^X, "$FindBin::RealBin/../torture/run",
	'--seed', $seed,
	'--kills', $ENV{TORTURE_KILLS} // 150,
	'--seconds', $ENV{TORTURE_SECONDS} // 100,
	'--least', 20,
	'--dir', "$PostgreSQL::Test::Utils::tmp_check/torture");

delete local $ENV{PG_CONFIG};
open my $run, '-|', @command or die "$command[1]: $!";
my @said = <$run>;
my $sound = close $run;

diag("seed $seed");
note(@said);
ok($sound, 'nothing was lost and nothing doubled') or diag(@said);
my ($kills) = join('', @said) =~ /caused: (\d+) kills/;
cmp_ok($kills // 0, '>=', 20, 'and enough was killed');

done_testing();
