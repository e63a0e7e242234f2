# A bounded part of test/torture/run --store bigquery: its double is killed,
# answers with errors, or does not answer, in modes committed and pending, while
# lanes and servers are killed.  TORTURE_SEED, TORTURE_KILLS and TORTURE_SECONDS
# make it another one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();

my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;
my @command = (
	$^X, "$FindBin::RealBin/../torture/run",
	'--store', 'bigquery',
	'--seed', $seed,
	'--kills', $ENV{TORTURE_KILLS} // 60,
	'--seconds', $ENV{TORTURE_SECONDS} // 40,
	'--least', 10,
	'--writers', 2,
	'--drain', 300,
	'--dir', "$PostgreSQL::Test::Utils::tmp_check/torture");

delete local $ENV{PG_CONFIG};
open my $run, '-|', @command or die "$command[1]: $!";
my @said = <$run>;
my $sound = close $run;

diag("seed $seed");
note(@said);
ok($sound, 'nothing was lost and nothing doubled') or diag(@said);
my ($caused) = grep { /caused: / } @said;
my ($kills) = ($caused // '') =~ /caused: (\d+) kills/;
cmp_ok($kills // 0, '>=', 10, 'and something was killed');

done_testing();
