# Replay and reconcile with the strict double of Snowflake, in both modes: what was
# tampered with is found, named, and mended.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use SnowflakePeer;
use TokenLedger;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

# Answers of more than one partition.
my $peer = SnowflakePeer->new(options => [ '--partition-rows', 150 ]);
my $node = ledger_node('reconcile', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 30s
EOC
my @targets = qw(sql streaming);

insert_events($node, 'app', 1500, per_transaction => 50);
set_targets($node, join ' ', map { "$_=" . $peer->url(mode => $_, table => $_) }
	  @targets);
foreach my $target (@targets)
{
	snowflake_forwarded_ok($node, 'app', $target, $peer, table => $target);
	job_like("reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 0 differ$/,
		"$target: the store has what it should, dead letters aside");
	tamper($target);
	found($target);
	mended($target);
	sent_again_and_killed($target);
}
identity_ok($node, 'app');
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

sub quoted
{
	my ($target) = @_;

	return qq("APP"."LEDGER"."\U$target\E");
}

sub list
{
	return join ', ', map { "'$_'" } @_;
}

# Events that are not there, another cost, a row that is there twice, and one that
# is nobody's.
sub tamper
{
	my ($target) = @_;
	my $table = quoted($target);
	my ($gone, $other, $twice) =
	  (list(id(100), id(101)), id(700), id(701));

	$peer->sql(qq(DELETE FROM $table WHERE "EVENT_ID" IN ($gone)));
	$peer->sql(qq(UPDATE $table SET "COST_USD" = 0.5 WHERE "EVENT_ID" = '$other'));
	$peer->sql("INSERT INTO $table SELECT * FROM $table"
		  . qq( WHERE "EVENT_ID" = '$twice'));
	$peer->sql(qq{INSERT INTO $table ("EVENT_ID", "TIMESTAMP", "PROVIDER", "MODEL",}
		  . qq{ "INPUT_TOKENS", "OUTPUT_TOKENS", "TOTAL_TOKENS")}
		  . " VALUES ('00000000-0000-0000-0000-000000000001',"
		  . " '2026-01-01 02:00:00', 'p', 'm', 0, 5, 5)");
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
			'extra|00000000-0000-0000-0000-000000000001|0.00000000',
			'missing|' . id(100) . '|',
			'missing|' . id(101) . '|'),
		"$target: and named");
	return;
}

sub mended
{
	my ($target) = @_;

	$peer->sql('DELETE FROM ' . quoted($target) . ' WHERE "EVENT_ID" IN ('
		  . list(id(700), id(701), '00000000-0000-0000-0000-000000000001')
		  . ')');
	job_like("reconcile('$target', NULL, NULL, true)",
		qr/: 4 events missing, 0 extra, 0 different, 0 doubled; 4 sent again$/,
		"$target: and mended");
	job_like("reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 0 differ$/,
		"$target: nothing differs any more");
	snowflake_forwarded_ok($node, 'app', $target, $peer, table => $target);
	return;
}

# By a lane that is killed in between: every event is there once.
sub sent_again_and_killed
{
	my ($target) = @_;

	$peer->sql('DELETE FROM ' . quoted($target)
		  . ' WHERE MOD("INPUT_TOKENS", 3) = 0');
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
	snowflake_forwarded_ok($node, 'app', $target, $peer,
		table => $target,
		name => "$target: every event is there once");
	return;
}
