# Replay and reconcile with ClickHouse's engine: what was tampered with is
# found and mended, what has expired is passed over.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use ReconcileTest;
use TokenLedger;

plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();

my $peer = ClickHousePeer->new;
my $node = reconcile_node('20s');
my $table = 'token_ledger_events';

set_targets($node, 'main=' . $peer->url(ttl => 0, batch_rows => 400));
reconciled_ok(
	$node, 'main',
	forwarded_ok =>
	  sub { clickhouse_forwarded_ok($node, 'app', 'main', $peer, @_) },
	tamper => \&tamper,
	remove => sub { remove($table, @_) },
	rate => 300,
	kills => [ 300, 900 ]);
identity_ok($node, 'app');

# A table that drops what is old.
set_targets($node, join ' ', 'main=' . $peer->url(ttl => 0),
	'short=' . $peer->url(table => 'short', ttl => 30));
passed_over_ok($node, 'short', sub { remove('short', @_) });
$node->stop;
done_testing();

sub tamper
{
	my ($gone, $also_gone, $other, $twice) = @_;

	remove($table, $gone, $also_gone);
	$peer->query("ALTER TABLE $table UPDATE cost_usd = 0.5"
		  . " WHERE event_id = '$other' SETTINGS mutations_sync = 2");
	$peer->query("INSERT INTO $table SELECT * FROM $table"
		  . " WHERE event_id = '$twice'");
	$peer->query("INSERT INTO $table (event_id, timestamp, provider, model,"
		  . " total_tokens) VALUES ('$NOBODY', '2026-01-01 02:00:00', 'p', 'm', 5)");
	return;
}

sub remove
{
	my ($from, @ids) = @_;

	$peer->query("ALTER TABLE $from DELETE WHERE event_id IN ("
		  . join(', ', map { "'$_'" } @ids)
		  . ') SETTINGS mutations_sync = 2');
	return;
}
