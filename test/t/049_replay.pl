# A range of time is sent again: what a store has lost arrives, what it has
# stays once; forwarding goes on meanwhile; kills, cancels, pauses, rates, and
# what is not sent again.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('replay', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $table = $TokenLedger::STORE_TABLE;

# The first store keeps an event once, the second has to be asked.
create_store($node, $_) foreach qw(keyed asked late);
my $keyed = 'keyed=' . store_url($node, 'keyed');
my $asked = 'asked=' . store_url($node, 'asked', batch_rows => 100, lanes => 2);

set_targets($node, $keyed);
insert_events($node, 'app', 3000, per_transaction => 70);
forwarded_ok($node, 'app', 'keyed', $node, 'keyed');
$node->safe_psql('asked', $node->safe_psql('keyed', <<'EOC'));
SELECT format('CREATE TABLE %s (%s)', 'public.token_ledger_events',
	string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)),
		', ' ORDER BY attnum))
FROM pg_attribute WHERE attrelid = 'public.token_ledger_events'::regclass
	AND attnum > 0 AND NOT attisdropped
EOC
set_targets($node, "$keyed $asked");
forwarded_ok($node, 'app', 'asked', $node, 'asked');
is( status('asked', 'guarantee'),
	'exactly once, by asking the store',
	'the second store has no key');

sub status
{
	my ($target, $columns) = @_;

	return $node->safe_psql('app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'");
}

sub request
{
	my ($target, $range, $rate) = @_;

	return $node->safe_psql('app',
		"SELECT token_ledger.replay('$target', $range"
		  . (defined $rate ? ", $rate)" : ')'));
}

sub done_like
{
	my ($job, $message, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like(
		psql_output($node, 'app', "CALL token_ledger.wait_for_job($job, '5 min')"),
		$message, $what);
}

sub job_is
{
	my ($job, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.jobs WHERE id = $job",
		$expected, $what);
}

# Events 501 to 1500, of which each store has lost some, and some others.
my $range = "'2026-01-01 00:58:27Z', '2026-01-01 02:55:07Z'";
my $in_range = '"timestamp" >= \'2026-01-01 00:58:27Z\''
  . ' AND "timestamp" < \'2026-01-01 02:55:07Z\'';

foreach my $call ("replay('nobody', NULL, NULL)",
	"reconcile('nobody', NULL, NULL)")
{
	my (undef, undef, $error) =
	  $node->psql('app', "SELECT token_ledger.$call");

	like($error, qr/target "nobody" does not exist/, "$call: there is none");
}
foreach my $target (qw(keyed asked))
{
	$node->safe_psql($target,
		"DELETE FROM $table WHERE $in_range AND input_tokens % 3 = 0");
	done_like(request($target, $range), qr/^1000 events sent$/,
		"$target: the range is sent");
	forwarded_ok($node, 'app', $target, $node, $target,
		name => "$target: what was lost is there, the rest is there once");
	is(status($target, 'forwarded, replayed, jobs'),
		'3000|1000|0', "$target: counted apart");
	is($node->safe_psql($target, "DELETE FROM $table WHERE NOT ($in_range)"
		  . ' AND input_tokens = 1600'),
		'', 'another event is lost');
	done_like(request($target, $range), qr/^1000 events sent$/,
		"$target: again");
	is( scalar(my @missing =
			  forwarding_differences($node, 'app', $node, $target)),
		1, "$target: what is out of the range is left alone");
	done_like(request($target, 'NULL, NULL'), qr/^3000 events sent$/,
		"$target: without bounds");
	forwarded_ok($node, 'app', $target, $node, $target,
		name => "$target: everything is there");
}
done_like(request('keyed', "'2020-01-01', '2020-01-02'"),
	qr/^0 events sent$/, 'a range without events is done at once');
identity_ok($node, 'app');

# What start=now has passed over can be sent.
set_targets($node, "$keyed $asked late="
	  . store_url($node, 'late', start => 'now'));
wait_until($node, 'app',
	"SELECT skipped FROM token_ledger.status WHERE target = 'late'",
	'3000', 'start=now passes over what is there');
insert_events($node, 'app', 100, first => 3001);
forwarded_ok($node, 'app', 'late', $node, 'late',
	where => "\"timestamp\" > timestamptz '2026-01-01 00:00Z' + 3000 * interval '7 s'");
done_like(request('late', "NULL, '2026-01-01 00:58:27Z'"),
	qr/^500 events sent$/, 'some of it is sent after all');
done_like(request('late', 'NULL, NULL'), qr/^3100 events sent$/, 'all of it');
forwarded_ok($node, 'app', 'late', $node, 'late',
	name => 'the store has what was passed over');
is(status('late', 'forwarded, skipped, replayed'),
	'100|3000|3600', 'and it is still counted as passed over');
identity_ok($node, 'app');

# A paused target keeps its cursor, and its jobs that send wait.
$node->safe_psql('app', "SELECT token_ledger.pause('keyed')");
insert_events($node, 'app', 100, first => 3101);
$node->safe_psql('keyed', "DELETE FROM $table");
my $waiting = request('keyed', 'NULL, NULL');

wait_until($node, 'app',
	"SELECT pending FROM token_ledger.status WHERE target = 'keyed'",
	'100', 'a paused target claims nothing');
done_like(request('asked', $range), qr/^1000 events sent$/,
	'another target is not held up');
is( $node->safe_psql('app',
		"SELECT state, sent FROM token_ledger.jobs WHERE id = $waiting"),
	'requested|0', 'the paused one sends nothing again');
is($node->safe_psql('keyed', "SELECT count(*) FROM $table"),
	'0', 'and nothing new');
$node->safe_psql('app', "SELECT token_ledger.resume('keyed')");
done_like($waiting, qr/^3[12]00 events sent$/, 'it goes on when resumed');
forwarded_ok($node, 'app', 'keyed', $node, 'keyed');
is(status('keyed', 'forwarded'), '3200', 'the cursor went on where it was');

# A rate: small ranges, and forwarding beside them.
my $slow = request('asked', 'NULL, NULL', 40);

job_is($slow, 'done > 0 AND done < total', 't', 'a slow replay is under way');
is( $node->safe_psql('app', <<'EOC'),
SELECT bool_and(range_rows <= 40) FROM token_ledger.lanes
WHERE target = 'asked' AND lane = 0
EOC
	't', 'in ranges no larger than its rate');
insert_events($node, 'app', 200, first => 3201);
is($node->safe_psql('app', "SELECT token_ledger.flush('asked')"),
	't', 'new events arrive meanwhile');
forwarded_ok($node, 'app', 'asked', $node, 'asked');
is( $node->safe_psql('app',
		'SELECT state, sent % 40, done = sent, total, done < total,'
		  . " message FROM token_ledger.jobs WHERE id = $slow"),
	'running|0|t|3200|t|3200 events are to be sent',
	'it is far from its end, and says how far');
is(status('asked', 'jobs'), '1', 'status knows of it');
is($node->safe_psql('app', "SELECT token_ledger.cancel_job($slow)"),
	't', 'it can be cancelled');
job_is($slow, 'state', 'cancelled', 'and ends');
wait_until($node, 'app', 'SELECT count(*) FROM token_ledger.job_event',
	'0', 'nothing is left to be sent');
done_like(request('asked', $range), qr/^1000 events sent$/,
	'the next one is not in its way');
identity_ok($node, 'app');

# Cancelled while the store is away: it ends at once, and what was on its way
# is settled later.
$node->safe_psql('postgres', 'ALTER DATABASE asked ALLOW_CONNECTIONS false');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid)"
	  . " FROM pg_stat_activity WHERE datname = 'asked'");
my $stuck = request('asked', $range);

wait_until($node, 'app', <<'EOC', 't', 'a replay waits for the store');
SELECT attempts > 1 AND range_rows > 0 FROM token_ledger.lanes
WHERE target = 'asked' AND lane = 0
EOC
$node->safe_psql('app', "SELECT token_ledger.cancel_job($stuck)");
job_is($stuck, 'state', 'cancelled', 'it is cancelled without the store');
$node->safe_psql('postgres', 'ALTER DATABASE asked ALLOW_CONNECTIONS true');
insert_events($node, 'app', 10, first => 3401);
forwarded_ok($node, 'app', 'asked', $node, 'asked');
wait_until($node, 'app', 'SELECT count(*) FROM token_ledger.job_event',
	'0', 'and nothing of it is left');
identity_ok($node, 'app');

# Kills in the middle.
$node->safe_psql('asked', "DELETE FROM $table WHERE input_tokens % 2 = 0");
my $before = status('asked', 'replayed');
my $killed = request('asked', 'NULL, NULL', 400);

foreach my $part (1 .. 5)
{
	wait_until($node, 'app',
		"SELECT done >= $part * 500 OR state = 'done'"
		  . " FROM token_ledger.jobs WHERE id = $killed",
		't', "part $part of it is sent");
	my ($pid) = lane_pids($node, 'app', 'asked');
	kill 'KILL', $pid if defined $pid;
	wait_until($node, 'app',
		"SELECT pid <> $pid FROM token_ledger.lanes"
		  . " WHERE target = 'asked' AND lane = 0 AND pid IS NOT NULL",
		't', 'another process owns the lane') if defined $pid;
}
done_like($killed, qr/^3410 events sent$/, 'it comes to its end');
forwarded_ok($node, 'app', 'asked', $node, 'asked',
	name => 'whatever was killed, every event is there once');
is(status('asked', 'replayed') - $before, 3410, 'and was counted once');
job_is($killed, 'done = total AND sent = total', 't', 'also in the job');
identity_ok($node, 'app');

# Dead letters are not sent again; what is refused now becomes none.
$node->safe_psql('keyed', "ALTER TABLE $table ADD CONSTRAINT dear"
	  . " CHECK (model <> 'refused') NOT VALID");
insert_events($node, 'app', 20, first => 4001,
	set => { model => "CASE WHEN i % 4 = 0 THEN 'refused' ELSE 'good' END" });
wait_until($node, 'app',
	"SELECT dead, lag_events FROM token_ledger.status WHERE target = 'keyed'",
	'5|0', 'the store refuses some events');
$node->safe_psql('keyed', <<"EOC");
ALTER TABLE $table DROP CONSTRAINT dear;
DELETE FROM $table WHERE model IN ('good', 'model-1');
ALTER TABLE $table ADD CONSTRAINT dear
	CHECK (model <> 'model-1' OR input_tokens > 300) NOT VALID;
EOC
my $lost = $node->safe_psql('app',
	"SELECT count(*) FROM $TokenLedger::EVENTS"
	  . " WHERE model = 'model-1' AND input_tokens <= 300");
my $all = $node->safe_psql('app',
	"SELECT count(*) - 5 FROM $TokenLedger::EVENTS");
my $sent = $all - $lost;

done_like(request('keyed', 'NULL, NULL'),
	qr/^$sent events sent, $lost refused by the store, the last one with: /,
	'events that are refused are counted');
is(status('keyed', 'dead'), '5', 'but are no dead letters');
forwarded_ok($node, 'app', 'keyed', $node, 'keyed',
	where => "model <> 'refused'"
	  . " AND (model <> 'model-1' OR input_tokens > 300)",
	name => 'the others are there');
identity_ok($node, 'app');

# A store that refuses everything.
$node->safe_psql('keyed', <<"EOC");
ALTER TABLE $table DROP CONSTRAINT dear;
DELETE FROM $table;
ALTER TABLE $table ADD CONSTRAINT dear CHECK (false) NOT VALID;
EOC
done_like(request('keyed', 'NULL, NULL', 150),
	qr/ERROR:  job \d+ of target "keyed" has failed\nDETAIL:  the store refuses every event: /,
	'a store that refuses everything ends the job');
$node->safe_psql('keyed', "ALTER TABLE $table DROP CONSTRAINT dear");
done_like(request('keyed', 'NULL, NULL'), qr/^$all events sent$/,
	'and it can be requested again');
is(status('keyed', 'dead, state'), '5|running', 'the target is well');
identity_ok($node, 'app');
$node->stop;
done_testing();
