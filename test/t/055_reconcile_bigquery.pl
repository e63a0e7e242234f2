# Replay and reconcile with the strict double of BigQuery: what was tampered with
# is found, named, and mended; what has expired is passed over.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;
use TokenLedger;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();

my $peer = BigQueryPeer->new;
my $node = ledger_node('reconcile', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 60s
EOC
my @targets = qw(committed pending);
my $nobody = '00000000-0000-0000-0000-000000000001';

insert_events($node, 'app', 1500, per_transaction => 50);
set_targets($node, join ' ',
	map { "$_=" . $peer->url(mode => $_, table => $_, expiration => 0) }
	  @targets);
foreach my $target (@targets)
{
	bigquery_forwarded_ok($node, 'app', $target, $peer, table => $target);
	job_like("reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 0 differ$/,
		"$target: the store has what it should, dead letters aside");
	tamper($target);
	found($target);
	mended($target);
	sent_again_and_killed($target);
}
identity_ok($node, 'app');
expired();
$node->stop;
done_testing();

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

# Somebody else inserts a row; cost: instead of the event's.
sub insert_by_hand
{
	my ($table, $event, $cost) = @_;
	my $row = $node->safe_psql('app', <<"EOC");
SELECT json_build_object('insertId', gen_random_uuid(), 'json',
	json_build_object('event_id', event_id, 'timestamp',
		extract(epoch FROM "timestamp")::text, 'provider', provider, 'model',
		model, 'input_tokens', input_tokens::text, 'output_tokens',
		output_tokens::text, 'total_tokens', total_tokens::text, 'cost_usd',
		coalesce($cost, cost_usd)::text))
FROM ($event) e
EOC
	my $answer = $peer->request('POST',
		"/bigquery/v2/projects/p/datasets/d/tables/$table/insertAll",
		{ rows => [ JSON::PP::decode_json($row) ] });

	die "not inserted: " . JSON::PP::encode_json($answer) . "\n"
	  if $answer->{insertErrors};
	return;
}

sub event
{
	my ($id) = @_;

	return "SELECT * FROM $TokenLedger::EVENTS WHERE event_id = '$id'";
}

# Events that are not there, another cost, a row that is there twice, and one that
# is nobody's.
sub tamper
{
	my ($target) = @_;

	$peer->delete_rows($target, id(100), id(101), id(700));
	insert_by_hand($target, event(id(700)), '0.5');
	insert_by_hand($target, event(id(701)), 'NULL');
	insert_by_hand($target, <<"EOC", 'NULL');
SELECT '$nobody' AS event_id, timestamptz '2026-01-01 02:00Z' AS "timestamp",
	'p' AS provider, 'm' AS model, 0 AS input_tokens, 5 AS output_tokens,
	5 AS total_tokens, NULL::numeric AS cost_usd
EOC
	return;
}

sub found
{
	my ($target) = @_;
	my $job = job_like(
		"reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 3 differ: 2 events missing, 1 extra, 1 different, 1 doubled$/,
		"$target: what was tampered with is found");

	is( $node->safe_psql('app', <<"EOC"),
SELECT to_char(hour AT TIME ZONE 'UTC', 'HH24'), missing, extra, different,
	doubled FROM token_ledger.reconcile_hours WHERE job = $job ORDER BY hour
EOC
		"00|2|0|0|0\n01|0|0|1|1\n02|0|1|0|0",
		"$target: by hour");
	is( $node->safe_psql('app', <<"EOC"),
SELECT kind, event_id, store_cost FROM token_ledger.reconcile_findings
WHERE job = $job ORDER BY kind COLLATE "C", event_id = '@{[ id(101) ]}'
EOC
		join("\n",
			'different|' . id(700) . '|0.50000000',
			'doubled|' . id(701) . '|0.00087625',
			"extra|$nobody|0.00000000",
			'missing|' . id(100) . '|',
			'missing|' . id(101) . '|'),
		"$target: and named");
	return;
}

sub mended
{
	my ($target) = @_;

	$peer->delete_rows($target, id(700), id(701), $nobody);
	job_like("reconcile('$target', NULL, NULL, true)",
		qr/: 4 events missing, 0 extra, 0 different, 0 doubled; 4 sent again$/,
		"$target: and mended");
	job_like("reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 0 differ$/,
		"$target: nothing differs any more");
	bigquery_forwarded_ok($node, 'app', $target, $peer, table => $target);
	return;
}

# By a lane that is killed in between: every event is there once.
sub sent_again_and_killed
{
	my ($target) = @_;
	my @gone = split /\n/, $node->safe_psql('app',
		"SELECT event_id FROM $TokenLedger::EVENTS"
		  . ' WHERE input_tokens % 3 = 0');

	$peer->delete_rows($target, @gone);
	my $job = $node->safe_psql('app',
		"SELECT token_ledger.replay('$target', NULL, NULL, 600)");

	wait_until($node, 'app',
		"SELECT done >= 300 FROM token_ledger.jobs WHERE id = $job",
		't', "$target: 300 events are sent");
	my ($pid) = lane_pids($node, 'app', $target);

	kill 'KILL', $pid if defined $pid;
	wait_until($node, 'app',
		"SELECT state, done = total FROM token_ledger.jobs WHERE id = $job",
		'done|t', "$target: the replay is done");
	bigquery_forwarded_ok($node, 'app', $target, $peer,
		table => $target,
		name => "$target: every event is there once");
	return;
}

# Events of January are older than the table keeps.
sub expired
{
	set_targets($node, 'short=' . $peer->url(table => 'short', expiration => 30));
	insert_events($node, 'app', 50, first => 5001,
		set => { timestamp => "now() - interval '5 hours' + i * interval '1 s'",
			cost_usd => '0.01' });
	caught_up_ok($node, 'app', 'short');
	job_like(
		"reconcile('short', NULL, NULL)",
		qr/^\d+ hours compared, 0 differ; \d+ hours are no longer kept$/,
		'what has expired is not missing');
	$peer->delete_rows('short', id(5007));
	job_like("reconcile('short', now() - interval '1 day', NULL, true)",
		qr/ 1 differ: 1 events missing, .* 1 sent again/,
		'what has not is');
	return;
}
