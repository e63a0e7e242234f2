# Replay and reconcile with ClickHouse's engine: what was tampered with is
# found and mended, what has expired is passed over.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use TokenLedger;

plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();

my $peer = ClickHousePeer->new;
my $node = ledger_node('reconcile', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $table = 'token_ledger_events';

sub job_like
{
	my ($call, $message, $what) = @_;
	my $job = $node->safe_psql('app', "SELECT token_ledger.$call");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like(psql_output($node, 'app', "CALL token_ledger.wait_for_job($job, '5 min')"),
		$message, $what);
	return $job;
}

sub id
{
	my ($i) = @_;

	return $node->safe_psql('app', "SELECT md5('event $i')::uuid");
}

insert_events($node, 'app', 1500, per_transaction => 50);
set_targets($node, 'main=' . $peer->url(ttl => 0, batch_rows => 400));
clickhouse_forwarded_ok($node, 'app', 'main', $peer);
job_like("reconcile('main', NULL, NULL)", qr/^3 hours compared, 0 differ$/,
	'the store has what it should, dead letters aside');

my %ids = map { $_ => id($_) } 100, 101, 700, 701;

$peer->query("ALTER TABLE $table DELETE WHERE event_id IN"
	  . " ('$ids{100}', '$ids{101}') SETTINGS mutations_sync = 2");
$peer->query("ALTER TABLE $table UPDATE cost_usd = 0.5"
	  . " WHERE event_id = '$ids{700}' SETTINGS mutations_sync = 2");
$peer->query("INSERT INTO $table SELECT * FROM $table"
	  . " WHERE event_id = '$ids{701}'");
$peer->query("INSERT INTO $table (event_id, timestamp, provider, model,"
	  . ' total_tokens) VALUES'
	  . " ('00000000-0000-0000-0000-000000000001', '2026-01-01 02:00:00', 'p',"
	  . " 'm', 5)");
my $job = job_like(
	"reconcile('main', NULL, NULL)",
	qr/^3 hours compared, 3 differ: 2 events missing, 1 extra, 1 different, 1 doubled$/,
	'what was tampered with is found');

is( $node->safe_psql('app', <<"EOC"),
SELECT kind, event_id, store_cost FROM token_ledger.reconcile_findings
WHERE job = $job ORDER BY kind COLLATE "C", event_id = '$ids{101}'
EOC
	join("\n",
		"different|$ids{700}|0.50000000",
		"doubled|$ids{701}|0.00087625",
		'extra|00000000-0000-0000-0000-000000000001|0.00000000',
		"missing|$ids{100}|",
		"missing|$ids{101}|"),
	'and named');
$peer->query("ALTER TABLE $table DELETE WHERE event_id IN ('$ids{700}',"
	  . " '$ids{701}', '00000000-0000-0000-0000-000000000001')"
	  . ' SETTINGS mutations_sync = 2');
job_like("reconcile('main', NULL, NULL, true)",
	qr/: 4 events missing, 0 extra, 0 different, 0 doubled; 4 sent again$/,
	'and mended');
job_like("reconcile('main', NULL, NULL)", qr/^3 hours compared, 0 differ$/,
	'nothing differs any more');
clickhouse_forwarded_ok($node, 'app', 'main', $peer);

# Sent again, killed in between: every event is there once.
$peer->query("ALTER TABLE $table DELETE WHERE input_tokens % 3 = 0"
	  . ' SETTINGS mutations_sync = 2');
$job = $node->safe_psql('app',
	"SELECT token_ledger.replay('main', NULL, NULL, 300)");
foreach my $done (300, 900)
{
	wait_until($node, 'app',
		"SELECT done >= $done FROM token_ledger.jobs WHERE id = $job",
		't', "$done events are sent");
	my ($pid) = lane_pids($node, 'app', 'main');

	kill 'KILL', $pid if defined $pid;
}
wait_until($node, 'app',
	"SELECT state, done = total FROM token_ledger.jobs WHERE id = $job",
	'done|t', 'the replay is done');
clickhouse_forwarded_ok($node, 'app', 'main', $peer,
	name => 'every event is there once');
identity_ok($node, 'app');

# A table that drops what is old.
set_targets($node, join ' ', 'main=' . $peer->url(ttl => 0),
	'short=' . $peer->url(table => 'short', ttl => 30));
insert_events($node, 'app', 50, first => 5001,
	set => { timestamp => "now() - interval '5 hours' + i * interval '1 s'",
		cost_usd => '0.01' });
$node->safe_psql('app', "SELECT token_ledger.flush('short')");
job_like(
	"reconcile('short', NULL, NULL)",
	qr/^\d+ hours compared, 0 differ; \d+ hours are no longer kept$/,
	'what has expired is not missing');
$peer->query('ALTER TABLE short DELETE WHERE input_tokens = 1001'
	  . ' SETTINGS mutations_sync = 2');
job_like("reconcile('short', now() - interval '1 day', NULL, true)",
	qr/ 1 differ: 1 events missing, .* 1 sent again/,
	'what has not is');
$node->stop;
done_testing();
