# A bounded part of test/torture/steps, with each store.  TORTURE_SEED and
# TORTURE_SEEDS make it another one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;
use ClickHousePeer;
use SnowflakePeer;

my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;

delete local $ENV{PG_CONFIG};
my %hindrances = (
	bigquery => bigquery_hindrance(),
	clickhouse => clickhouse_hindrance(),
	postgres => undef,
	snowflake => snowflake_hindrance());

foreach my $store (sort keys %hindrances)
{
  SKIP:
	{
		skip $hindrances{$store}, 2 if defined $hindrances{$store};
		steps($store);
	}
}
done_testing();

sub steps
{
	my ($store) = @_;
	my @command = (
		$^X, "$FindBin::RealBin/../torture/steps",
		'--store', $store,
		'--seed', $seed,
		'--seeds', $ENV{TORTURE_SEEDS} // 15,
		'--dir', "$PostgreSQL::Test::Utils::tmp_check/$store");

	open my $run, '-|', @command or die "$command[1]: $!";
	my @said = <$run>;
	my $sound = close $run;

	diag("seed $seed, $store");
	note(@said);
	ok($sound, "$store: nothing was lost and nothing doubled")
	  or diag(@said);
	my ($killed) = "@said" =~ /(\d+) killed:/;
	cmp_ok($killed // 0, '>', 0, "$store: and something was killed");
	return;
}
