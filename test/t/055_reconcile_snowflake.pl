# Replay and reconcile with the strict double of Snowflake, in both modes: what was
# tampered with is found, named, and mended.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ReconcileTest;
use SnowflakePeer;
use TokenLedger;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

# Answers of more than one partition.
my $peer = SnowflakePeer->new(options => [ '--partition-rows', 150 ]);
my $node = reconcile_node('30s');
my @targets = qw(sql streaming);

set_targets($node, join ' ', map { "$_=" . $peer->url(mode => $_, table => $_) }
	  @targets);
foreach my $target (@targets)
{
	my $table = qq("APP"."LEDGER"."\U$target\E");

	reconciled_ok(
		$node, $target,
		forwarded_ok => sub {
			snowflake_forwarded_ok($node, 'app', $target, $peer,
				table => $target, @_);
		},
		tamper => sub { tamper($table, @_) },
		remove => sub { remove($table, @_) },
		rate => 600,
		kills => [300]);
}
identity_ok($node, 'app');
$node->stop;
done_testing();

sub tamper
{
	my ($table, $gone, $also_gone, $other, $twice) = @_;

	remove($table, $gone, $also_gone);
	$peer->sql(qq(UPDATE $table SET "COST_USD" = 0.5 WHERE "EVENT_ID" = '$other'));
	$peer->sql("INSERT INTO $table SELECT * FROM $table"
		  . qq( WHERE "EVENT_ID" = '$twice'));
	$peer->sql(qq{INSERT INTO $table ("EVENT_ID", "TIMESTAMP", "PROVIDER", "MODEL",}
		  . qq{ "INPUT_TOKENS", "OUTPUT_TOKENS", "TOTAL_TOKENS")}
		  . " VALUES ('$NOBODY', '2026-01-01 02:00:00', 'p', 'm', 0, 5, 5)");
	return;
}

sub remove
{
	my ($table, @ids) = @_;

	$peer->sql(qq{DELETE FROM $table WHERE "EVENT_ID" IN (}
		  . join(', ', map { "'$_'" } @ids)
		  . ')');
	return;
}
