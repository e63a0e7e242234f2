# What status, lanes and accounting say while lanes run: each state and the
# way out of it, start=now, events that are deleted before or after they are
# sent.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('status', conf => <<'EOC');
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.poll_interval = 200ms
EOC
my $ledger = 'token_ledger.token_ledger_events';
my $store = 'public.token_ledger_events';
my $inserted = 0;

create_store($node, $_) foreach 'one', 'two';

sub sql
{
	return $node->safe_psql('app', $_[0]);
}

sub insert
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $inserted + 1, %params);
	$inserted += $n;
	return;
}

sub stored
{
	return $node->safe_psql($_[0], "SELECT count(*) FROM $store");
}

# Columns of one target's row, as soon as they are what is expected.
sub status_ok
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# Without a target, and before the first event.
is(sql('SELECT count(*) FROM token_ledger.status'),
	'0', 'no target, no row');
set_targets($node, 'mirror=' . store_url($node, 'one'));
status_ok('mirror',
	'state, lanes, forwarded, in_flight, pending, lag_events, lag_seconds,'
	  . ' last_error IS NULL, remote_version, guarantee ~ \'per event\','
	  . ' problem IS NULL',
	'running|1|0|0|0|0|0|t|103|t|t',
	'a target with nothing to do');

insert(120, per_transaction => 40);
caught_up_ok($node, 'app', 'mirror');
status_ok('mirror',
	'backend, forwarded, dead, discarded, filtered, skipped,'
	  . ' retry_at IS NULL, error_since IS NULL',
	'postgres|120|0|0|0|0|t|t',
	'forwarded');
wait_until($node, 'app',
	'SELECT target, lane, pid IS NOT NULL, phase, attempts, range_rows,'
	  . ' done_rows, forwarded, dead, batches > 0, retries, unknowns,'
	  . ' settled_at > phase_since - interval \'1 minute\', epoch'
	  . ' FROM token_ledger.lanes',
	'mirror|0|t|idle|0|0|0|120|0|t|0|0|t|1',
	'one lane, which is idle');
is( sql('SELECT ledger, retired, skipped, forwarded, in_flight, pending, dead,'
		  . ' difference, vanished FROM token_ledger.accounting'),
	'120|0|0|120|0|0|0|0|0',
	'accounting');

# error: the store is gone; then it comes back.
$node->safe_psql('postgres', 'ALTER DATABASE one RENAME TO away')
  if $node->safe_psql('postgres',
	'ALTER DATABASE one ALLOW_CONNECTIONS false;'
	  . ' SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity'
	  . " WHERE datname = 'one'");
insert(10, set => { timestamp => "now() - interval '1 hour'" });
status_ok('mirror',
	'state, cause, code, last_error IS NULL, error_since < now(),'
	  . ' retry_at IS NOT NULL, in_flight + pending, lag_events,'
	  . ' lag_seconds BETWEEN 3600 AND 4200',
	'error|config|3D000|f|t|t|10|10|t',
	'a store that is gone');
is(sql('SELECT count(*) FROM token_ledger.lanes WHERE attempts > 0'),
	'1', 'lanes counts the attempts');
identity_ok($node, 'app', 'the identity holds while the store is gone');
is( scalar(
		() = slurp_file($node->logfile) =~
		  /LOG:\s+tokenledger\ target\ "mirror"\ is\ failing\ \(config\)\n
			[^\n]*DETAIL:[^\n]*does\ not\ exist/gx),
	1, 'it is logged once');
$node->safe_psql('postgres',
	'ALTER DATABASE away ALLOW_CONNECTIONS true;'
	  . ' ALTER DATABASE away RENAME TO one');
caught_up_ok($node, 'app', 'mirror');
status_ok('mirror',
	'state, cause IS NULL, code IS NULL, last_error IS NULL,'
	  . ' error_since IS NULL, retry_at IS NULL, lag_seconds',
	'running|t|t|t|t|t|0',
	'all of it is gone when the store is back');
forwarded_ok($node, 'app', 'mirror', $node, 'one');

# stopped: another destination under the name of one that has events.
set_targets($node, 'mirror=' . store_url($node, 'two'));
status_ok('mirror', 'state, lanes, destination ~ \'two\'', 'stopped|1|t',
	'another destination stops the target');
like(sql('SELECT last_error FROM token_ledger.status'),
	qr/another destination/, 'and status says so');
insert(7);
my ($code, $out, $err) =
  $node->psql('app', "SELECT token_ledger.flush('mirror', '1 minute')");
is("$code $out", '0 f', 'a stopped target is not waited for');
like($err, qr/WARNING:  target "mirror" is stopped/, 'and why');
is(sql('SELECT pending FROM token_ledger.status'), '7', 'nothing is claimed');
is( $node->safe_psql('two', "SELECT to_regclass('$store') IS NULL"),
	't', 'and the other store is not touched');
set_targets($node, 'mirror=' . store_url($node, 'one', lanes => 2));
status_ok('mirror', 'state, lanes, last_error IS NULL', 'running|2|t',
	'it goes on when the URL is set back');
forwarded_ok($node, 'app', 'mirror', $node, 'one');

# invalid: the entry; then mended.
set_targets($node, 'mirror=' . store_url($node, 'one', lane => 2));
status_ok('mirror', 'state, lanes, cause, last_error, forwarded',
	'invalid|0|config|unknown option "lane"|137',
	'an entry with a mistake');
like(sql('SELECT hint FROM token_ledger.status'),
	qr/"lanes"/, 'with a hint');
insert(3);
set_targets($node, 'mirror=' . store_url($node, 'one')
	  . ' later=' . store_url($node, 'two', start => 'now'));
caught_up_ok($node, 'app', 'mirror', name => 'the entry is mended');

# start=now: what is there is skipped and counted.
status_ok('later', 'state, skipped, forwarded, pending', 'running|140|0|0',
	'start=now skips what is there');
insert(25);
caught_up_ok($node, 'app', 'later');
is(stored('two'), 25, 'and forwards what comes');
is( sql("SELECT ledger, skipped, forwarded, difference"
		  . " FROM token_ledger.accounting WHERE target = 'later'"),
	'165|140|25|0',
	'the identity counts the skipped');
set_targets($node, 'mirror=' . store_url($node, 'one')
	  . ' later=' . store_url($node, 'two', start => 'beginning'));
wait_until($node, 'app',
	"SELECT count(*) FROM token_ledger.lanes"
	  . " WHERE target = 'later' AND epoch = 2 AND phase = 'idle'",
	'1', 'the changed entry is taken up');
is(sql("SELECT skipped, forwarded FROM token_ledger.status"
		  . " WHERE target = 'later'"),
	'140|25', 'start counts at the first start only');

# removed, and back.
set_targets($node, 'later=' . store_url($node, 'two'));
status_ok('mirror', 'state, lanes, forwarded, pending', 'removed|0|165|0',
	'a target that is no longer in the settings');
insert(11);
status_ok('mirror', 'state, pending', 'removed|11', 'what it misses is told');
is( sql("SELECT lane, pid IS NULL, phase IS NULL, forwarded"
		  . " FROM token_ledger.lanes WHERE target = 'mirror'"
		  . ' AND forwarded = (SELECT max(forwarded) FROM token_ledger.lanes'
		  . " WHERE target = 'mirror')"),
	'0|t|t|' . sql("SELECT max(forwarded) FROM token_ledger.lanes"
		  . " WHERE target = 'mirror'"),
	'its lanes keep their totals');
set_targets($node, 'mirror=' . store_url($node, 'one')
	  . ' later=' . store_url($node, 'two'));
forwarded_ok($node, 'app', 'mirror', $node, 'one',
	name => 'it goes on when it is back');

# Deleted after they were sent: retired.  Deleted before: vanished.
caught_up_ok($node, 'app', 'later');
sql("SELECT token_ledger.pause('later')");
status_ok('later', 'state', 'paused', 'one target is paused');
insert(40);
caught_up_ok($node, 'app', 'mirror');
my $deleted = sql(<<EOC);
SET tokenledger.allow_ledger_edits = on;
WITH gone AS (
	DELETE FROM $ledger WHERE event_id IN (
		SELECT md5('event ' || i)::uuid
		FROM generate_series($inserted - 4, $inserted) i)
	RETURNING 1)
SELECT count(*) FROM gone;
EOC
is($deleted, 5, 'five events are deleted');
is( sql("SELECT target, retired, vanished, pending, difference"
		  . ' FROM token_ledger.accounting ORDER BY 1'),
	"later|0|5|35|0\nmirror|5|0|0|0",
	'retired for the target that has them, vanished for the other');
sql("SELECT token_ledger.resume('later')");
caught_up_ok($node, 'app', 'later');
is(stored('one') - stored('two'), 145, 'the other target never got them');

# Events that vanish while a lane has claimed and not read them: as the store
# hangs, the last part of the range is not read yet.
my $epoch = sql("SELECT epoch FROM token_ledger.lanes"
	  . " WHERE target = 'mirror' AND lane = 0");

set_targets($node,
	'mirror=' . store_url($node, 'one', batch_rows => 10) . ' later='
	  . store_url($node, 'two'));
wait_until($node, 'app',
	"SELECT epoch > $epoch AND phase = 'idle' FROM token_ledger.lanes"
	  . " WHERE target = 'mirror' AND lane = 0",
	't', 'small parts');
$node->safe_psql('one',
	"BEGIN; LOCK TABLE $store IN ACCESS EXCLUSIVE MODE;"
	  . " PREPARE TRANSACTION 'hold'");
insert(30);
status_ok('mirror', 'in_flight', '30', 'a range is claimed');
sql(<<EOC);
SET tokenledger.allow_ledger_edits = on;
DELETE FROM $ledger WHERE event_id = md5('event $inserted')::uuid;
EOC
is( sql('SELECT target, difference FROM token_ledger.accounting ORDER BY 1'),
	"later|0\nmirror|0", 'the identity holds between');
$node->safe_psql('one', "ROLLBACK PREPARED 'hold'");
caught_up_ok($node, 'app', 'mirror');
caught_up_ok($node, 'app', 'later');
identity_ok($node, 'app');
is( sql("SELECT vanished FROM token_ledger.accounting"
		  . " WHERE target = 'mirror'"),
	'1', 'it vanished after it was claimed');

# Refused alone by a store that does not say which event it means (a deferred
# trigger does not), an event is held until another one is accepted.
$node->safe_psql('one', <<EOC);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
	\$\$ BEGIN RAISE 'refused at commit'; END \$\$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON $store
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.model = 'bad')
	EXECUTE FUNCTION refuse();
EOC
sql("INSERT INTO $ledger (event_id, provider, model)"
	  . " VALUES (md5('bad')::uuid, 'x', 'bad')");
status_ok('mirror', 'state, cause, dead, in_flight', 'error|data|0|1',
	'an event that is refused alone');
insert(1);
status_ok('mirror', 'state, dead, lag_events', 'running|1|0',
	'is set aside once another is accepted');
like(sql('SELECT reason FROM token_ledger.dead_letter'),
	qr/refused at commit/, 'for a reason');
identity_ok($node, 'app', 'the identity counts dead letters');

sql("INSERT INTO $ledger (event_id, provider, model)"
	  . " VALUES (md5('worse')::uuid, 'x', 'bad')");
status_ok('mirror', 'state, cause, dead, in_flight', 'error|data|1|1',
	'another one is held');
sql("SET tokenledger.allow_ledger_edits = on;"
	  . " DELETE FROM $ledger WHERE event_id = md5('worse')::uuid");
insert(1);
status_ok('mirror', 'state, dead, lag_events', 'running|1|0',
	'and deleted meanwhile');
caught_up_ok($node, 'app', 'later');
identity_ok($node, 'app', 'the identity holds when a held event vanishes');

# An event that was sent twice by way of an upsert stays one event.
sql(<<EOC);
SET tokenledger.allow_ledger_edits = on;
INSERT INTO $ledger (event_id, provider, model)
VALUES (md5('event 1')::uuid, 'openai', 'upserted')
ON CONFLICT (event_id) DO UPDATE SET model = excluded.model;
EOC
caught_up_ok($node, 'app', 'mirror');
identity_ok($node, 'app', 'the identity holds after an upsert');
is( $node->safe_psql('one',
		"SELECT count(*) FROM $store WHERE event_id = md5('event 1')::uuid"),
	'1', 'and the store has the event once');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');
done_testing();
