# What operators do, with a real TimescaleDB as the store: the watermark beside
# the hypertable, reconcile of a target that gets a part of the events and of
# their columns, a hypertable that has lost its rows.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TimescaleStore;
use TokenLedger;

plan skip_all => timescale_missing() if timescale_missing();

my $store = timescale_store('operations');
my $node = ledger_node('tsops', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 100ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $table = $store->table;
my $next = 1;

set_targets($node, 'main=' . $store->url(watermark => 'on'));
insert_some(400);
arrived_ok('every event arrives');
watermark();
lost();
routed();

done_testing();

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next);
	$next += $n;
	return;
}

sub arrived_ok
{
	my ($what, %params) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return forwarded_ok($node, 'app', 'main', $store, $store->db,
		table => $table, name => $what, %params);
}

sub status_is
{
	my ($columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = 'main'",
		$expected, $what);
}

sub reconcile
{
	my ($requeue) = @_;
	my $job = $node->safe_psql('app',
		"SELECT token_ledger.reconcile('main', NULL, NULL, $requeue)");

	$node->safe_psql('app', "CALL token_ledger.wait_for_job($job)");
	return $node->safe_psql('app',
		"SELECT state, sent, message FROM token_ledger.jobs WHERE id = $job");
}

sub restart_lanes
{
	$node->restart;
	return;
}

sub watermark
{
	my $now = $node->safe_psql('app', 'SELECT clock_timestamp()');
	my $schema = $store->schema;

	wait_until($store, $store->db,
		"SELECT complete_until > '$now'"
		  . " FROM $schema.token_ledger_watermark",
		't', 'the store is told what is complete');
	is( $store->safe_psql(undef,
			"SELECT count(*), count(DISTINCT ledger_id)"
			  . " FROM $schema.token_ledger_watermark"),
		'1|1',
		'in one row');
	return;
}

# Truncated, and without the chunks that had the last events.
sub lost
{
	my %how = (
		'a truncated hypertable' => "TRUNCATE $table",
		'one without its chunks' =>
		  "SELECT drop_chunks('$table', newer_than => '2000-01-01'::timestamptz)"
	);

	foreach my $what (sort keys %how)
	{
		$store->safe_psql(undef, $how{$what});
		restart_lanes();
		status_is('state, last_error',
			qr/^error\|the store has lost acknowledged events: it does not/,
			"$what is noticed");
		like(reconcile('true'), qr/^done\|400\|/, 'it gets back what it had');
		status_is('state, pending', 'running|0', 'and goes on');
		arrived_ok('every event is there again');
	}
	identity_ok($node, 'app');
	return;
}

# What the target does not get is not missing.
sub routed
{
	my $key = $node->basedir . '/hash.key';

	append_to_file($key, '0123456789abcdef' x 2 . "\n");
	chmod 0600, $key;
	$store->safe_psql(undef, "TRUNCATE $table");
	set_targets(
		$node,
		'main=' . $store->url(
			exclude => 'cost_usd,metadata',
			hash => 'user_id',
			hash_key_file => $key,
			filter => "provider = 'openai'"));
	$node->safe_psql('app', "SELECT token_ledger.retarget('main', 'beginning')");
	insert_some(200);
	status_is('state, lag_events', 'running|0', 'a part of the events');
	like(reconcile('false'), qr/^done\|0\|\d+ hours compared, 0 differ$/,
		'nothing differs');
	$store->safe_psql(undef,
		"DELETE FROM $table WHERE event_id = md5('event 300')::uuid");
	$store->safe_psql(undef, "UPDATE $table SET total_tokens = 1"
		  . " WHERE event_id = md5('event 303')::uuid");
	like(reconcile('true'),
		qr/^done\|1\|.* 1 events missing, 0 extra, 1 different, 0 doubled;/,
		'what differs is found');
	is( $node->safe_psql('app',
			'SELECT kind, count(*) FROM token_ledger.reconcile_findings'
			  . ' WHERE job = (SELECT max(id) FROM token_ledger.jobs)'
			  . ' GROUP BY 1 ORDER BY 1'),
		"different|1\nmissing|1",
		'and named');
	is( $store->safe_psql(undef,
			"SELECT count(*), count(cost_usd), count(metadata),"
			  . " count(*) FILTER (WHERE provider <> 'openai'),"
			  . " count(*) FILTER (WHERE length(user_id) <> 64) FROM $table"),
		$node->safe_psql('app',
			'SELECT count(*) FROM token_ledger.token_ledger_events'
			  . " WHERE provider = 'openai'") . '|0|0|0|0',
		'and sent again as the others were');
	identity_ok($node, 'app');
	return;
}
