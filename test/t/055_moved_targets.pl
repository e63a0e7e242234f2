# A target under another name, or with another store; a second ledger that comes
# to a store; roles that go away.  Nothing is sent twice unnoticed, and a
# function says how to go on.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $conf = <<'EOC';
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $node = ledger_node('moved', conf => $conf);
my $next = 1;

create_store($node, 'store');

sub target
{
	my ($name, $table, %options) = @_;

	return "$name=" . store_url($node, 'store', table => $table, %options);
}

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next, per_transaction => 10);
	$next += $n;
	return;
}

sub stored
{
	my ($table) = @_;

	return $node->safe_psql('store',
		"SELECT count(*), count(DISTINCT event_id) FROM $table");
}

sub status_is
{
	my ($target, $columns, $expected, $what, $server, $database) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($server // $node, $database // 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

sub fails_like
{
	my ($call, $message, $what) = @_;
	my (undef, undef, $error) = $node->psql('app', "SELECT token_ledger.$call");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like($error, $message, $what);
}

# Another name.  The table has no unique index, so that nothing hides a double.
set_targets($node, target('first', 'one', lanes => 2));
insert_some(100);
caught_up_ok($node, 'app', 'first');
$node->safe_psql('store',
	'ALTER TABLE one DROP CONSTRAINT one_pkey;'
	  . ' SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE application_name LIKE 'tokenledger %'");
set_targets($node, target('second', 'one', lanes => 2));
insert_some(50);
status_is(
	'second',
	'state, last_error',
	qr/^stopped\|target "first" has filled this destination so far; token_ledger\.rename_target\('first', 'second'\)/,
	'a new name for a store that has events is no new target');
is(stored('one'), '100|100', 'nothing is sent');
fails_like("rename_target('nobody', 'second')",
	qr/target "nobody" has not started/, 'a target that is none');
fails_like("rename_target('first', 'two words')",
	qr/invalid name of a target "two words"/, 'a name that is none');
$node->safe_psql('app', "SELECT token_ledger.rename_target('first', 'second')");
status_is('second', 'state, forwarded, lag_events', 'running|150|0',
	'renamed, it goes on where it was');
is(stored('one'), '150|150', 'and doubles nothing');
identity_ok($node, 'app');

# The name first, the settings after that.
$node->safe_psql('app', "SELECT token_ledger.rename_target('second', 'third')");
$node->safe_psql('app',
	'SELECT pg_terminate_backend(pid) FROM token_ledger.lanes'
	  . ' WHERE pid IS NOT NULL');
status_is(
	'second',
	'state, last_error',
	qr/^stopped\|target "third" has filled this destination so far/,
	'the old name forwards nothing');
set_targets($node, target('third', 'one', lanes => 2));
insert_some(50);
status_is('third', 'state, forwarded, lag_events', 'running|200|0',
	'the new one does');
is(stored('one'), '200|200', 'and doubles nothing');
$node->safe_psql('app',
	"DELETE FROM token_ledger.target WHERE name = 'second'");
identity_ok($node, 'app');

# Another name, on purpose and from the beginning: the store is asked for each
# event, and the former name has no place there any more.
set_targets($node, target('heir', 'one', lanes => 2));
status_is('heir', 'state', 'stopped', 'a new name is stopped');
$node->safe_psql('app', "SELECT token_ledger.retarget('heir', 'continue')");
status_is('heir', 'state', 'stopped', 'it has no place to continue from');
$node->safe_psql('app', "SELECT token_ledger.retarget('heir', 'beginning')");
insert_some(50);
status_is('heir', 'state, forwarded, lag_events', 'running|250|0',
	'it takes the store over');
is(stored('one'), '250|250', 'and doubles nothing');
identity_ok($node, 'app');
set_targets($node, target('third', 'one', lanes => 2));
insert_some(50);
status_is(
	'third',
	'state, last_error',
	qr/^stopped\|target "heir" has filled this destination so far/,
	'the former name, which would double the last ones, is stopped');
is(stored('one'), '250|250', 'nothing is sent');
$node->safe_psql('app', "SELECT token_ledger.rename_target('heir', 'third')");
status_is('third', 'state, forwarded, lag_events', 'running|300|0',
	'until it gets the place');
is(stored('one'), '300|300', 'which doubles nothing');
identity_ok($node, 'app');

# Another store: only what comes, or everything.
set_targets($node, target('third', 'two', lanes => 2));
insert_some(50);
status_is('third', 'state, lag_events', 'stopped|50',
	'with another store it is stopped');
fails_like("retarget('third', 'now')", qr/invalid start "now"/,
	'an unknown start');
fails_like("retarget('nobody', 'continue')",
	qr/target "nobody" has not started/, 'a target that is none');
$node->safe_psql('app', "SELECT token_ledger.retarget('third', 'continue')");
status_is('third', 'state, forwarded, lag_events', 'running|350|0',
	'retargeted, it goes on where it was');
is(stored('two'), '50|50', 'the new store has what came later');
is(stored('one'), '300|300', 'the old one what came before');
identity_ok($node, 'app');
insert_some(50);
caught_up_ok($node, 'app', 'third');
is(stored('two'), '100|100', 'and so it goes on');
set_targets($node, target('third', 'three', lanes => 2));
status_is('third', 'state', 'stopped', 'moved again');
$node->safe_psql('app', "SELECT token_ledger.retarget('third', 'beginning')");
forwarded_ok($node, 'app', 'third', $node, 'store', table => 'three',
	name => 'from the beginning, the new store has everything');
identity_ok($node, 'app');
$node->safe_psql('app', "SELECT token_ledger.retarget('third', 'beginning')");
forwarded_ok($node, 'app', 'third', $node, 'store', table => 'three',
	name => 'and once more, which doubles nothing');
identity_ok($node, 'app');

# A target whose row was deleted begins anew; its store, which has no unique
# index, has been filled before.  So has one that a target has left.
$node->safe_psql('store', 'ALTER TABLE three DROP CONSTRAINT three_pkey');
set_targets($node, '');
status_is('third', 'state', 'removed', 'a target is removed');
$node->safe_psql('app', "DELETE FROM token_ledger.target WHERE name = 'third'");
set_targets($node, target('third', 'three', lanes => 2));
insert_some(10);
forwarded_ok($node, 'app', 'third', $node, 'store', table => 'three',
	name => 'deleted and named again, it doubles nothing');
status_is('third', 'guarantee', 'exactly once, by asking the store',
	'it has asked');
set_targets($node, target('third', 'four', lanes => 2));
status_is('third', 'state', 'stopped', 'moved once more');
$node->safe_psql('app', "SELECT token_ledger.retarget('third', 'continue')");
insert_some(10);
caught_up_ok($node, 'app', 'third');
is( $node->safe_psql('app',
		'SELECT count(*) FROM token_ledger.filled'
		  . " WHERE destination LIKE '%three'"),
	'1',
	'the ledger knows which store it has left');
set_targets($node,
	target('third', 'four', lanes => 2) . ' ' . target('fourth', 'three'));
forwarded_ok($node, 'app', 'fourth', $node, 'store', table => 'three',
	name => 'another name for the store that was left doubles nothing');
identity_ok($node, 'app');
set_targets($node, target('third', 'four', lanes => 2));
$node->safe_psql('app', "DELETE FROM token_ledger.target WHERE name = 'fourth'");
$node->safe_psql('store', 'DROP TABLE three');
set_targets($node, target('third', 'three', lanes => 2));
$node->safe_psql('app', "SELECT token_ledger.retarget('third', 'beginning')");
forwarded_ok($node, 'app', 'third', $node, 'store', table => 'three',
	name => 'and a table that was dropped is filled again');

# With a batch on its way.
my $lock = $node->background_psql('store');

$lock->query_safe('BEGIN; LOCK TABLE three IN EXCLUSIVE MODE;');
insert_some(40);
wait_until(
	$node, 'store',
	'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted'
	  . " AND relation = 'three'::regclass",
	't', 'a batch is on its way');
$node->safe_psql('app', "SELECT token_ledger.retarget('third', 'continue')");
$lock->query_safe('COMMIT;');
$lock->quit;
forwarded_ok($node, 'app', 'third', $node, 'store', table => 'three',
	name => 'a target that is retargeted to its own store loses nothing');
identity_ok($node, 'app');

# With a look at the store on its way, which finds it empty.
$lock = $node->background_psql('store');
$lock->query_safe('BEGIN; TRUNCATE three;');
$node->safe_psql('app',
	'SELECT pg_terminate_backend(pid) FROM token_ledger.lanes'
	  . ' WHERE pid IS NOT NULL');
wait_until(
	$node, 'store',
	'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted'
	  . " AND relation = 'three'::regclass",
	't', 'a look is on its way');
$node->safe_psql('app', "SELECT token_ledger.retarget('third', 'beginning')");
$lock->query_safe('COMMIT;');
$lock->quit;
forwarded_ok($node, 'app', 'third', $node, 'store', table => 'three',
	name => 'what it has found is not said of a target that begins anew');
identity_ok($node, 'app');

# A second ledger.
my $other = ledger_node('other', conf => $conf);

insert_events($other, 'app', 30, first => 5001);
set_targets($other, target('mirror', 'three'));
status_is(
	'mirror',
	'state, last_error',
	qr/^error\|another ledger fills the store's table/,
	'a second ledger is refused',
	$other);
is(stored('three'), join('|', ($next - 1) x 2), 'nothing of it is stored');
insert_some(10);
caught_up_ok($node, 'app', 'third', name => 'the first one goes on');
set_targets($other, target('mirror', 'three', shared => 'on'));
caught_up_ok($other, 'app', 'mirror', name => 'but if it may');
is(stored('three'), join('|', ($next - 1 + 30) x 2), 'then both fill it');
identity_ok($other, 'app');

# Roles that go away: one that may write, and the extension's owner.
$node->safe_psql('app', <<'EOC');
CREATE ROLE writer LOGIN;
SELECT token_ledger.grant_writer('writer');
DROP OWNED BY writer;
DROP ROLE writer;
EOC
$node->safe_psql('postgres', 'CREATE DATABASE owned');
$node->safe_psql('owned', <<'EOC');
CREATE ROLE owner SUPERUSER LOGIN;
SET SESSION AUTHORIZATION owner;
CREATE EXTENSION tokenledger;
EOC
$node->safe_psql('postgres',
	"ALTER SYSTEM SET tokenledger.databases = 'app', 'owned'");
set_targets($node, target('app/third', 'three', lanes => 2) . ' '
	  . target('owned/mine', 'mine', lanes => 2));
insert_events($node, 'owned', 20);
caught_up_ok($node, 'owned', 'mine');
my $owner = $node->safe_psql('postgres', 'SELECT current_user');

$node->safe_psql('owned', "REASSIGN OWNED BY owner TO $owner");
$node->safe_psql('owned', 'DROP OWNED BY owner');
$node->safe_psql('postgres', 'DROP ROLE owner');
insert_events($node, 'owned', 20, first => 21);
forwarded_ok($node, 'owned', 'mine', $node, 'store', table => 'mine',
	name => 'lanes go on as the new owner');
insert_some(10);
caught_up_ok($node, 'app', 'third', name => 'and the others as before');
identity_ok($node, $_) foreach qw(app owned);

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed on ' . $_->name)
  foreach $node, $other;
done_testing();
