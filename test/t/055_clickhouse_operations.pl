# What operators do, with the real ClickHouse as the store: dead letters that
# are sent again, the watermark beside the table, a store that has lost events.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);	# sleep-ok: for a poll with a deadline

use ClickHouseEvents;
use ClickHousePeer;
use TokenLedger;

plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();

my $peer = ClickHousePeer->new;
my $node = ledger_node('chops', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 100ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $next = 1;

set_targets($node,
	'main=' . $peer->url(ttl => 0, batch_rows => 100, watermark => 'on'));
insert_some(200);
clickhouse_forwarded_ok($node, 'app', 'main', $peer);
sent_again();
watermark();
lost();

done_testing();

sub insert_some
{
	my ($n, %set) = @_;

	insert_events($node, 'app', $n, first => $next,
		set => { cost_usd => '0.25', %set });
	$next += $n;
	return;
}

# One of them has arrived in another way: the store is asked.
sub sent_again
{
	my $dead = 'SELECT state, times, count(*) FROM token_ledger.dead_letters'
	  . ' GROUP BY 1, 2';

	$peer->query('ALTER TABLE token_ledger_events'
		  . " ADD CONSTRAINT refused CHECK model != 'refused'");
	insert_some(60,
		model => "CASE WHEN i % 2 = 0 THEN 'refused' ELSE 'good' END");
	insert_some(60);
	wait_until($node, 'app', $dead, 'dead|1|30', 'dead letters');
	is($node->safe_psql('app', "SELECT token_ledger.requeue('main')"),
		'30', 'requeued');
	wait_until($node, 'app', $dead, 'dead|2|30', 'refused again');
	$peer->query('ALTER TABLE token_ledger_events DROP CONSTRAINT refused');
	my ($id, $at) = split /\|/, $node->safe_psql('app',
		"SELECT event_id, to_char(\"timestamp\" AT TIME ZONE 'UTC',"
		  . " 'YYYY-MM-DD HH24:MI:SS.US') FROM token_ledger.dead_letters LIMIT 1");

	$peer->query('INSERT INTO token_ledger_events'
		  . " SELECT * REPLACE (toUUID('$id') AS event_id,"
		  . " toDateTime64('$at', 6, 'UTC') AS timestamp)"
		  . ' FROM token_ledger_events LIMIT 1');
	$node->safe_psql('app', "SELECT token_ledger.requeue('main')");
	wait_until($node, 'app', $dead, '', 'none is left');
	is($peer->query('SELECT count(), uniqExact(event_id)'
			  . ' FROM token_ledger_events'),
		"320\t320", 'all are there, once');
	identity_ok($node, 'app');
	return;
}

sub watermark
{
	my $time = $node->safe_psql('app',
		"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC',"
		  . " 'YYYY-MM-DD HH24:MI:SS.US')");
	my $passed = "SELECT max(complete_until) > toDateTime64('$time', 6, 'UTC')"
	  . ' FROM token_ledger_watermark';
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	# At first the table is not there.
	while ((eval { $peer->query($passed) } // '') ne '1' && time < $deadline)
	{
		usleep(100_000);	# sleep-ok: interval of a poll with a deadline
	}
	is($peer->query($passed), '1', 'the store is told what is complete');
	is( $peer->query('SELECT uniqExact(w.ledger_id), countIf(w.ledger_id IN'
			  . ' (SELECT ledger_id FROM token_ledger_source)) = count()'
			  . ' FROM token_ledger_watermark w'),
		"1\t1",
		'of this ledger');
	is($peer->query("SELECT engine FROM system.tables"
			  . " WHERE name = 'token_ledger_watermark'"),
		'ReplacingMergeTree', 'old rows are merged away');
	return;
}

# A table that is another than the one that was filled: an older copy, an empty
# one of that name, one whose rows are gone.
sub lost
{
	my %how = (
		'an older copy' => sub {
			$peer->query('EXCHANGE TABLES token_ledger_events AND older');
		},
		'an emptied one' => sub {
			$peer->query('ALTER TABLE token_ledger_events DELETE WHERE 1'
				  . ' SETTINGS mutations_sync = 2');
		},
		'a truncated one' =>
		  sub { $peer->query('TRUNCATE TABLE token_ledger_events') },
		'one made anew' => sub {
			$peer->query('CREATE OR REPLACE TABLE anew'
				  . ' AS token_ledger_events');
			$peer->query('EXCHANGE TABLES token_ledger_events AND anew');
			$peer->query('DROP TABLE anew');
		});

	foreach my $what (sort keys %how)
	{
		$peer->query('CREATE OR REPLACE TABLE older AS token_ledger_events');
		$peer->query('INSERT INTO older SELECT * FROM token_ledger_events');
		insert_some(50);
		caught_up_ok($node, 'app', 'main');
		$how{$what}->();
		restart_lanes();
		wait_until(
			$node, 'app',
			'SELECT state, cause, last_error FROM token_ledger.status',
			qr/^error\|schema\|the store has lost acknowledged events: it/,
			"$what is noticed");
		insert_some(10);
		wait_until($node, 'app', 'SELECT pending FROM token_ledger.status',
			'10', 'nothing is sent to it');
		my $job = $node->safe_psql('app',
			"SELECT token_ledger.reconcile('main', NULL, NULL, true)");

		$node->safe_psql('app', "CALL token_ledger.wait_for_job($job)");
		wait_until($node, 'app',
			'SELECT state, pending FROM token_ledger.status',
			'running|0', 'reconciled, it goes on');
		clickhouse_forwarded_ok($node, 'app', 'main', $peer);
		identity_ok($node, 'app');
	}
	return;
}

sub restart_lanes
{
	my $pids = 'SELECT array_agg(pid) FROM token_ledger.lanes';
	my $before = $node->safe_psql('app', $pids);

	$node->safe_psql('app',
		"SELECT pg_terminate_backend(p) FROM unnest('$before'::int[]) p");
	wait_until($node, 'app',
		"SELECT count(pid) > 0 AND NOT bool_or(pid = ANY ('$before'::int[]))"
		  . ' FROM token_ledger.lanes',
		't', 'the lane has started again');
	return;
}
