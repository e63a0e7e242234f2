# A store that has lost what it acknowledged: restored from an older copy,
# emptied, made anew.  The target says so, sends nothing more, and goes on when
# the store has the events again, or when somebody has decided.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('lost', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 100ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $lost = qr/^error\|schema\|the store has lost acknowledged events: it does not hold event [0-9a-f-]{36} any more; token_ledger\.reconcile\(/;
my $next = 1;

truncated();
older_copy();
older_copy_in_the_midst();
made_anew();
emptied_unnoticed();
other_stores();
cannot_tell();

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');
done_testing();

sub target
{
	my ($name, $database, %options) = @_;

	return "$name=" . store_url($node, $database, %options);
}

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, %params);
	$next += $n;
	return;
}

sub store
{
	my ($database, $sql) = @_;

	return $node->safe_psql($database, $sql);
}

sub stored
{
	my ($database) = @_;

	return store($database, 'SELECT count(*) FROM token_ledger_events');
}

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

sub lost_ok
{
	my ($target, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return status_is($target, 'state, cause, last_error', $lost, $what);
}

sub restart_lanes
{
	my ($target) = @_;
	my $pids = "SELECT array_agg(pid) FROM token_ledger.lanes"
	  . " WHERE target = '$target' AND pid IS NOT NULL";
	my $before = $node->safe_psql('app', $pids);

	$node->safe_psql('app',
		"SELECT pg_terminate_backend(pid) FROM token_ledger.lanes"
		  . " WHERE target = '$target' AND pid IS NOT NULL");
	wait_until($node, 'app',
		"SELECT count(*) = cardinality('$before'::int[])"
		  . ' FROM token_ledger.lanes'
		  . " WHERE target = '$target' AND pid <> ALL ('$before'::int[])"
		  . " AND phase <> 'starting'",
		't', "the lanes of $target have started again");
	return;
}

sub run_job
{
	my ($call) = @_;
	my $job = $node->safe_psql('app', "SELECT token_ledger.$call");

	$node->safe_psql('app', "CALL token_ledger.wait_for_job($job)");
	return $node->safe_psql('app',
		"SELECT state, sent FROM token_ledger.jobs WHERE id = $job");
}

# The table is there, its rows are not.  Two lanes, each of which has its own
# events to ask for.
sub truncated
{
	create_store($node, 'store');
	set_targets($node, target('main', 'store', lanes => 2));
	insert_some(300, per_transaction => 30);
	forwarded_ok($node, 'app', 'main', $node, 'store');
	restart_lanes('main');
	status_is('main', 'state', 'running', 'nothing is missing');

	store('store', 'TRUNCATE token_ledger_events');
	restart_lanes('main');
	lost_ok('main', 'a truncated table is noticed without any event');
	insert_some(40);
	status_is('main', 'pending, in_flight', '40|0', 'nothing is sent');
	is(stored('store'), '0', 'nor made good in secret');
	restart_lanes('main');
	lost_ok('main', 'another start forgets nothing');
	identity_ok($node, 'app');

	is(run_job("reconcile('main', NULL, NULL)"), 'done|0',
		'it can be compared');
	lost_ok('main', 'which mends nothing');
	is(run_job("reconcile('main', NULL, NULL, requeue => true)"),
		'done|300', 'what it lacks is sent again');
	status_is('main', 'state, last_error, pending', 'running||0',
		'and the target goes on by itself');
	forwarded_ok($node, 'app', 'main', $node, 'store');
	identity_ok($node, 'app');
	return;
}

# A backup of the store comes back while the lanes are connected.
sub older_copy
{
	copy_store();
	insert_some(60, per_transaction => 10);
	forwarded_ok($node, 'app', 'main', $node, 'store');
	restore_store();
	insert_some(1);
	lost_ok('main', 'an older copy is noticed when the lane connects again');
	is(run_job("replay('main', NULL, NULL)") =~ /^done/, 1, 'replayed');
	forwarded_ok($node, 'app', 'main', $node, 'store');
	status_is('main', 'state', 'running', 'nothing is missing any more');
	identity_ok($node, 'app');
	return;
}

# The same with a batch on its way: it is found out what became of it, and the
# loss is not covered up by it.
sub older_copy_in_the_midst
{
	my $lock;

	copy_store();
	insert_some(50, per_transaction => 5);
	caught_up_ok($node, 'app', 'main');
	$lock = $node->background_psql('store');
	$lock->query_safe(
		'BEGIN; LOCK TABLE token_ledger_events IN EXCLUSIVE MODE;');
	insert_some(20);
	wait_until(
		$node, 'store',
		'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted'
		  . " AND relation = 'token_ledger_events'::regclass",
		't', 'a batch is on its way');
	restore_store();
	eval { $lock->quit };
	lost_ok('main', 'an older copy is noticed with a batch on its way');
	status_is('main', 'in_flight', '0', 'which is settled');
	restart_lanes('main');
	lost_ok('main', 'and does not cover up the loss');
	insert_some(20);
	is(run_job("reconcile('main', NULL, NULL, requeue => true)") =~ /^done/,
		1, 'reconciled');
	forwarded_ok($node, 'app', 'main', $node, 'store');
	status_is('main', 'state', 'running', 'and recovered');
	identity_ok($node, 'app');
	return;
}

sub copy_store
{
	store('postgres', 'DROP DATABASE IF EXISTS backup');
	$node->safe_psql('app', "SELECT token_ledger.pause('main')");
	store('postgres',
		'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
		  . " WHERE datname = 'store'");
	wait_until($node, 'postgres', 'CREATE DATABASE backup TEMPLATE store',
		'', 'the store is copied');
	$node->safe_psql('app', "SELECT token_ledger.resume('main')");
	return;
}

# NB: those of the lanes are ended first, and come not back: what waits for a lock
# of ours would be carried out as soon as that is gone.
sub restore_store
{
	my $lanes = "FROM pg_stat_activity WHERE datname = 'store'"
	  . " AND application_name LIKE 'tokenledger %'";

	store('postgres', 'ALTER DATABASE store ALLOW_CONNECTIONS false');
	store('postgres', "SELECT pg_terminate_backend(pid) $lanes");
	wait_until($node, 'postgres', "SELECT count(*) $lanes", '0',
		'no lane is connected');
	store('postgres', 'DROP DATABASE store WITH (FORCE)');
	store('postgres', 'CREATE DATABASE store TEMPLATE backup');
	return;
}

# Gone and made again: a table like the old one, which nobody has filled.
# Decided: what was lost stays lost.
sub made_anew
{
	store('store', <<'EOC');
BEGIN;
CREATE TABLE new (LIKE token_ledger_events INCLUDING ALL);
DROP TABLE token_ledger_events;
ALTER TABLE new RENAME TO token_ledger_events;
COMMIT;
EOC
	restart_lanes('main');
	lost_ok('main', 'a table that was made anew is noticed');
	insert_some(30);
	$node->safe_psql('app', "SELECT token_ledger.retarget('main', 'continue')");
	status_is('main', 'state, pending', 'running|0',
		'retarget() goes on without');
	is(stored('store'), '30', 'with what comes');
	identity_ok($node, 'app');
	restart_lanes('main');
	status_is('main', 'state', 'running', 'and that is settled');

	store('store', 'TRUNCATE token_ledger_events');
	restart_lanes('main');
	lost_ok('main', 'emptied again');
	$node->safe_psql('app',
		"SELECT token_ledger.retarget('main', 'beginning')");
	forwarded_ok($node, 'app', 'main', $node, 'store',
		name => 'or everything anew');
	status_is('main', 'state', 'running', 'which is no error');
	identity_ok($node, 'app');
	return;
}

# Emptied while the lane sends on: what it has sent since is there, the earlier
# event that it asks for as well is not.
sub emptied_unnoticed
{
	set_targets($node, target('main', 'store'));
	insert_some(10);
	caught_up_ok($node, 'app', 'main');
	restart_lanes('main');
	insert_some(10);
	caught_up_ok($node, 'app', 'main');
	status_is('main', 'state', 'running', 'all is well');
	store('store', 'DELETE FROM token_ledger_events');
	insert_some(10);
	caught_up_ok($node, 'app', 'main');
	restart_lanes('main');
	lost_ok('main', 'a table that was emptied in between is noticed');
	is(run_job("reconcile('main', NULL, NULL, requeue => true)") =~ /^done/,
		1, 'reconciled');
	forwarded_ok($node, 'app', 'main', $node, 'store');
	return;
}

# Of a target that gets a part of the events, with hashes, and then another
# part; of one without a unique index, which is asked before anything is sent
# again.
sub other_stores
{
	my $key = $node->basedir . '/hash.key';
	my %routed = (
		exclude => 'metadata,request_preview',
		hash => 'user_id',
		hash_key_file => $key);

	append_to_file($key, '0123456789abcdef' x 2 . "\n");
	chmod 0600, $key;
	create_store($node, 'routed');
	create_store($node, 'plain');
	set_targets($node,
		target('routed', 'routed', %routed, filter => "model = 'model-1'")
		  . ' '
		  . target('plain', 'plain'));
	insert_some(100);
	caught_up_ok($node, 'app', 'routed');
	caught_up_ok($node, 'app', 'plain');
	set_targets($node,
		target('routed', 'routed', %routed, filter => "model = 'model-2'")
		  . ' '
		  . target('plain', 'plain'));
	insert_some(1, set => { model => "'model-3'" });
	status_is('routed', 'state, pending', 'running|0',
		'another filter is no loss');
	store('plain', 'ALTER TABLE token_ledger_events'
		  . ' DROP CONSTRAINT token_ledger_events_pkey');
	store($_, 'DELETE FROM token_ledger_events') foreach qw(routed plain);
	restart_lanes($_) foreach qw(routed plain);
	lost_ok('routed', 'a target that gets a part notices it');
	lost_ok('plain', 'and one without a unique index');
	is(run_job("reconcile('plain', NULL, NULL, requeue => true)") =~ /^done/,
		1, 'reconciled');
	forwarded_ok($node, 'app', 'plain', $node, 'plain');
	status_is('plain', 'state', 'running', 'and recovered');
	$node->safe_psql('app',
		"SELECT token_ledger.retarget('routed', 'beginning')");
	status_is('routed', 'state, pending, in_flight', 'running|0|0',
		'sent anew');
	is( stored('routed'),
		$node->safe_psql('app',
			"SELECT count(*) FROM token_ledger.token_ledger_events"
			  . " WHERE model = 'model-2'"),
		'by the filter of now');
	return;
}

# Where nobody can tell, it goes on: rows that somebody takes away on purpose,
# events that the ledger itself holds no more.
sub cannot_tell
{
	create_store($node, $_) foreach qw(queue aged);
	set_targets($node,
		target('queue', 'queue', check_kept => 'off') . ' '
		  . target('aged', 'aged'));
	caught_up_ok($node, 'app', $_) foreach qw(queue aged);
	store('queue', 'DELETE FROM token_ledger_events');
	restart_lanes('queue');
	insert_some(10);
	caught_up_ok($node, 'app', $_) foreach qw(queue aged);
	is(stored('queue'), '10', 'with check_kept=off nobody asks');

	$node->safe_psql('app',
		'SET tokenledger.allow_ledger_edits = on;'
		  . ' DELETE FROM token_ledger.token_ledger_events');
	store('aged', 'DELETE FROM token_ledger_events');
	restart_lanes('aged');
	insert_some(10);
	caught_up_ok($node, 'app', 'aged');
	is(stored('aged'), '10',
		'what the ledger holds no more is not asked for');
	status_is('aged', 'state', 'running', 'and that is no loss');

	store('aged', 'DELETE FROM token_ledger_events');
	restart_lanes('aged');
	lost_ok('aged', 'other events are');
	set_targets($node,
		target('queue', 'queue', check_kept => 'off') . ' '
		  . target('aged', 'aged', check_kept => 'off'));
	status_is('aged', 'state', 'running', 'unless nobody wants to know');
	insert_some(10);
	caught_up_ok($node, 'app', 'aged');
	identity_ok($node, 'app');
	return;
}
