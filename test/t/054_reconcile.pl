# The ledger is compared with what stores hold: what was deleted, changed,
# added and doubled by hand is found and named, what is missing can be sent
# again, and what is merely on its way is no difference.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('reconcile', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $table = $TokenLedger::STORE_TABLE;
my $ledger = $TokenLedger::EVENTS;

create_store($node, $_) foreach qw(keyed asked late);
my $keyed = 'keyed=' . store_url($node, 'keyed');

set_targets($node, "$keyed none=tokenledger+null://");
insert_events($node, 'app', 3000, per_transaction => 70);
forwarded_ok($node, 'app', 'keyed', $node, 'keyed');

sub request
{
	my ($target, $arguments) = @_;

	return $node->safe_psql('app',
		"SELECT token_ledger.reconcile('$target', $arguments)");
}

sub done_like
{
	my ($job, $message, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like(
		psql_output($node, 'app', "CALL token_ledger.wait_for_job($job, '5 min')"),
		$message, $what);
}

sub agrees_ok
{
	my ($target, $what, $range) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return done_like(request($target, $range // 'NULL, NULL'),
		qr/^\d+ hours compared, 0 differ$/, $what);
}

sub findings_are
{
	my ($job, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql('app', <<"EOC"), $expected, $what);
SELECT kind, event_id, ledger_tokens, store_tokens, ledger_cost, store_cost
FROM token_ledger.reconcile_findings WHERE job = $job
ORDER BY kind COLLATE "C", event_id
EOC
}

sub hours_are
{
	my ($job, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql('app', <<"EOC"), $expected, $what);
SET timezone = 'UTC'; SELECT to_char(hour, 'HH24'), $columns
FROM token_ledger.reconcile_hours WHERE job = $job ORDER BY hour
EOC
}

sub id
{
	my ($i) = @_;

	return $node->safe_psql('app', "SELECT md5('event $i')::uuid");
}

sub sums
{
	my ($database, $from, $where) = @_;

	return $node->safe_psql($database,
			'SELECT count(*), sum(total_tokens), sum(cost_usd)'
		  . " FILTER (WHERE cost_usd <> 'NaN') FROM $from WHERE $where");
}

# Nothing was touched.
done_like(request('keyed', 'NULL, NULL'),
	qr/^6 hours compared, 0 differ$/, 'the store has what it should');
done_like(
	request('keyed', "'2026-01-01 01:30Z', '2026-01-01 03:30Z'"),
	qr/^3 hours compared, 0 differ$/,
	'also in a part of that time');
done_like(request('none', 'NULL, NULL'),
	qr/has failed\nDETAIL:  backend "null" cannot say what its store holds/,
	'a store that cannot be asked');

# What was done to it by hand.
my $hour2 = '"timestamp" >= \'2026-01-01 02:00Z\''
  . ' AND "timestamp" < \'2026-01-01 03:00Z\'';
my %ids = map { $_ => id($_) } 1100, 1101, 1200, 1300, 2100;

$node->safe_psql('keyed', <<"EOC");
DELETE FROM $table WHERE event_id IN ('$ids{1100}', '$ids{1101}', '$ids{1200}');
UPDATE $table SET cost_usd = 0.5 WHERE event_id = '$ids{1300}';
UPDATE $table SET total_tokens = total_tokens + 1
	WHERE event_id = '$ids{2100}';
INSERT INTO $table (event_id, "timestamp", provider, model, total_tokens,
	cost_usd) VALUES ('00000000-0000-0000-0000-000000000001',
	'2026-01-01 04:30Z', 'p', 'm', 7, 0.25);
EOC
my $job = request('keyed', 'NULL, NULL');

done_like(
	$job,
	qr/^6 hours compared, 2 differ: 3 events missing, 1 extra, 2 different, 0 doubled$/,
	'the differences are counted');
findings_are(
	$job,
	join("\n",
		"different|$ids{1300}|1700|1700|0.00162500|0.50000000",
		"different|$ids{2100}|2400|2401|0.00262500|0.00262500",
		'extra|00000000-0000-0000-0000-000000000001||7||0.25000000',
		sort("missing|$ids{1100}|1300||0.00000000|",
			"missing|$ids{1101}|1302||0.00137625|",
			"missing|$ids{1200}|1500||0.00150000|")),
	'and named');
hours_are(
	$job,
	'missing, extra, different, doubled',
	"02|3|0|1|0\n04|0|1|1|0",
	'by hour');
is( $node->safe_psql('app', <<"EOC"),
SELECT ledger_events, ledger_tokens, ledger_cost::numeric(18,8), store_events,
	store_tokens, store_cost::numeric(18,8)
FROM token_ledger.reconcile_hours WHERE job = $job AND missing > 0
EOC
	sums('app', $ledger, $hour2) . '|' . sums('keyed', $table, $hour2),
	'with exact sums of both sides');
my $before = $node->safe_psql('app',
	"SELECT forwarded, replayed FROM token_ledger.status WHERE target = 'keyed'"
);
done_like(
	request('keyed', 'NULL, NULL, true'),
	qr/3 events missing, 1 extra, 2 different, 0 doubled; 3 sent again$/,
	'what is missing is sent again');
is($before, '3000|0', 'nothing had been before');
is( $node->safe_psql('app',
		'SELECT forwarded, replayed FROM token_ledger.status'
		  . " WHERE target = 'keyed'"),
	'3000|3',
	'and only that');
$job = request('keyed', 'NULL, NULL');
done_like($job, qr/: 0 events missing, 1 extra, 2 different, 0 doubled$/,
	'afterwards nothing is missing');
$node->safe_psql('keyed', "DELETE FROM $table WHERE event_id IN"
	  . " ('$ids{1300}', '$ids{2100}', '00000000-0000-0000-0000-000000000001')");
done_like(request('keyed', 'NULL, NULL, true'), qr/; 2 sent again$/,
	'what is different is mended by deleting it first');
agrees_ok('keyed', 'all is well again');
forwarded_ok($node, 'app', 'keyed', $node, 'keyed');
identity_ok($node, 'app');

# Doubled, and a timestamp that was changed: only without a key.
$node->safe_psql('asked', $node->safe_psql('keyed', <<'EOC'));
SELECT format('CREATE TABLE %s (%s)', 'public.token_ledger_events',
	string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)),
		', ' ORDER BY attnum))
FROM pg_attribute WHERE attrelid = 'public.token_ledger_events'::regclass
	AND attnum > 0 AND NOT attisdropped
EOC
my $asked = 'asked=' . store_url($node, 'asked', batch_rows => 100, lanes => 2);

set_targets($node, "$keyed $asked");
forwarded_ok($node, 'app', 'asked', $node, 'asked');
agrees_ok('asked', 'another store has it all as well');
$node->safe_psql('asked', <<"EOC");
INSERT INTO $table SELECT * FROM $table WHERE event_id = '$ids{1100}';
INSERT INTO $table SELECT t.* FROM $table t, generate_series(1, 2)
	WHERE event_id = '$ids{1101}';
UPDATE $table SET "timestamp" = '2026-01-01 04:00Z' WHERE event_id = '$ids{1200}';
EOC
$job = request('asked', 'NULL, NULL');
done_like(
	$job,
	qr/, 2 differ: 1 events missing, 0 extra, 1 different, 3 doubled$/,
	'rows that are there twice, or at another time');
$node->safe_psql('asked', "DELETE FROM $table WHERE event_id IN"
	  . " ('$ids{1100}', '$ids{1101}', '$ids{1200}')");
done_like(request('asked', 'NULL, NULL, true'), qr/; 3 sent again$/,
	'are mended in the same way');
forwarded_ok($node, 'app', 'asked', $node, 'asked');

# What is pending, dead or passed over is no difference.
$node->safe_psql('keyed', "ALTER TABLE $table ADD CONSTRAINT dear"
	  . " CHECK (model <> 'refused') NOT VALID");
insert_events($node, 'app', 40, first => 3001,
	set => { model => "CASE WHEN i % 4 = 0 THEN 'refused' ELSE 'good' END" });
wait_until($node, 'app',
	"SELECT dead, lag_events FROM token_ledger.status WHERE target = 'keyed'",
	'10|0', 'the store refuses some events');
agrees_ok('keyed', 'dead letters are not missing');
$node->safe_psql('app', "SELECT token_ledger.pause('keyed')");
insert_events($node, 'app', 100, first => 3101);
agrees_ok('keyed', 'what waits is not missing');
$node->safe_psql('app', "SELECT token_ledger.resume('keyed')");
$node->safe_psql('app', "SELECT token_ledger.flush('keyed')");
set_targets($node, "$keyed $asked late=" . store_url($node, 'late', start => 'now'));
wait_until($node, 'app',
	"SELECT skipped FROM token_ledger.status WHERE target = 'late'",
	'3140', 'start=now passes over what is there');
insert_events($node, 'app', 60, first => 3201);
$node->safe_psql('app', "SELECT token_ledger.flush('late')");
agrees_ok('late', 'what was passed over is not missing');
$node->safe_psql('app', <<'EOC');
CALL token_ledger.wait_for_job(token_ledger.replay('late',
	'2026-01-01 01:20Z', '2026-01-01 01:40Z'));
EOC
agrees_ok('late', 'and not extra if it was replayed');
$node->safe_psql('late', "DELETE FROM $table WHERE event_id IN"
	  . " (SELECT event_id FROM $table ORDER BY \"timestamp\" DESC LIMIT 2)");
done_like(request('late', 'NULL, NULL'), qr/: 2 events missing, 0 extra/,
	'what was sent and is gone is');

# What the ledger has retired.
$node->safe_psql('app', <<"EOC");
BEGIN;
SET LOCAL tokenledger.allow_ledger_edits = on;
DELETE FROM $ledger WHERE $hour2 AND input_tokens % 10 = 0;
COMMIT;
EOC
agrees_ok('keyed', 'rows of retired events are not extra');
my $some = $node->safe_psql('keyed',
	"SELECT event_id FROM $table WHERE $hour2 AND input_tokens % 10 = 0"
	  . ' ORDER BY 1 LIMIT 1');

$node->safe_psql($_, "DELETE FROM $table WHERE event_id = '$some'")
  foreach qw(keyed asked);
agrees_ok('keyed', 'nor missing, where some may not have been sent');
$job = request('asked', "'2026-01-01 02:00Z', '2026-01-01 03:00Z'");
done_like($job, qr/: 0 events missing, .*, 1 retired ones missing$/,
	'where all were sent they are');
hours_are($job, 'missing, extra, retired - retired_missing > 40',
	'02|0|0|t', 'in their hour');
$node->safe_psql('asked', <<"EOC");
INSERT INTO $table (event_id, "timestamp", provider, model)
SELECT gen_random_uuid(), '2026-01-01 02:30Z', 'p', 'm'
FROM generate_series(1, 3);
EOC
$job = request('asked', "'2026-01-01 02:00Z', '2026-01-01 03:00Z'");
done_like($job, qr/: 0 events missing, 2 extra, 0 different, 0 doubled$/,
	'more rows than were retired are extra');
is( $node->safe_psql('app',
		"SELECT count(*) FROM token_ledger.reconcile_findings WHERE job = $job"),
	'0', 'though nobody can say which');

# Many events in an hour, and an hour long ago.
set_targets($node, $keyed);
insert_events($node, 'app', 60000, first => 10001,
	set => { timestamp => "timestamptz '2026-02-01 00:00Z' + (i - 10000) * interval '50 ms'" });
$node->safe_psql('app', "SELECT token_ledger.flush('keyed', '3 min')");
$node->safe_psql('keyed', <<"EOC");
DELETE FROM $table WHERE "timestamp" >= '2026-02-01 00:00Z'
	AND input_tokens % 50 = 0;
INSERT INTO $table (event_id, "timestamp", provider, model)
VALUES ('00000000-0000-0000-0000-000000000002', '1999-12-31 23:59Z', 'p', 'm'),
	('00000000-0000-0000-0000-000000000003', 'infinity', 'p', 'm'),
	('00000000-0000-0000-0000-000000000004', '-infinity', 'p', 'm');
EOC
$job = request('keyed', "NULL, NULL, true");
done_like(
	$job,
	qr/^2\d{5} hours compared, 2 differ: 1200 events missing, 1 extra, 0 different, 0 doubled; 1200 sent again$/,
	'an hour with more events than are compared at once');
is( $node->safe_psql('app', <<"EOC"), '1000|1', 'the first thousand are named');
SELECT count(*) FILTER (WHERE kind = 'missing'),
	count(*) FILTER (WHERE kind = 'extra')
FROM token_ledger.reconcile_findings WHERE job = $job
EOC
done_like(
	request('keyed', "'2026-02-01', NULL"),
	qr/^1 hours compared, 0 differ$/,
	'and all were sent');

# While events are written and forwarded, and the lane is killed.
my $writer = $node->background_psql('app');

$writer->query_until(qr/begun/, <<"EOC");
\\echo begun
DO \$\$
BEGIN
	FOR i IN 1 .. 100000 LOOP
		INSERT INTO $ledger (provider, model, total_tokens, cost_usd)
		SELECT 'busy', 'm', n, n * 0.00001 FROM generate_series(1, i % 30) n;
		COMMIT;
		PERFORM pg_sleep(0.01);		/* sleep-ok: the pace of the load */
		EXIT WHEN EXISTS (SELECT FROM pg_class WHERE relname = 'enough');
	END LOOP;
END \$\$;
EOC
foreach my $round (1 .. 5)
{
	done_like(
		request('keyed', "'2026-03-01', NULL"),
		qr/hours compared, 0 differ$/,
		"round $round: nothing differs while events are on their way");
}
my $killed = request('keyed', "'2000-01-01', NULL");
my ($pid) = lane_pids($node, 'app', 'keyed');

kill 'KILL', $pid;
wait_until($node, 'app',
	'SELECT count(pid) FROM token_ledger.lanes'
	  . " WHERE target = 'keyed' AND pid <> $pid",
	'1', 'the lane is killed');
done_like($killed, qr/hours compared, 0 differ$/, 'the job goes on');
$node->safe_psql('app', 'CREATE TABLE enough ()');
eval { $writer->quit; 1 } or note('the crash has ended the writer');
$node->safe_psql('app', "SELECT token_ledger.flush('keyed')");
agrees_ok('keyed', 'nor when it is quiet', "'2026-03-01', NULL");
identity_ok($node, 'app');
is( $node->safe_psql('app', <<'EOC'), '0|0|0', 'what was found goes with the job');
DELETE FROM token_ledger.job;
SELECT (SELECT count(*) FROM token_ledger.reconcile_hour),
	(SELECT count(*) FROM token_ledger.reconcile_event),
	(SELECT count(*) FROM token_ledger.job_event)
EOC
$node->stop;
done_testing();
