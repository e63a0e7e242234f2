# Copies of a database must not forward as the original: a template copy, a dump
# restored elsewhere (while lanes wait for the database there), a dump restored
# over the original.  Each is suspended until adopt(), and then nothing is
# missing or doubled.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $conf = <<'EOC';
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
EOC
my $node = ledger_node('original', conf => $conf);
my $ledger = 'token_ledger.token_ledger_events';
my $store = 'public.token_ledger_events';
my $dir = PostgreSQL::Test::Utils::tempdir;

create_store($node, 'store');

my $mirror = 'mirror=' . store_url($node, 'store', lanes => 2);

sub stored
{
	return $node->safe_psql('store',
		"SELECT count(*), count(DISTINCT event_id) FROM $store");
}

sub state_ok
{
	my ($server, $database, $state, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($server, $database,
		"SELECT state FROM token_ledger.status WHERE target = 'mirror'",
		$state, $what);
}

sub set_databases
{
	my ($databases) = @_;

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET tokenledger.databases = $databases");
	$node->reload;
	return;
}

# Suspended: nothing is claimed or sent, whatever is inserted.
sub suspended_ok
{
	my ($server, $database, $pending, $what) = @_;
	my ($code, $out, $err);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	state_ok($server, $database, 'suspended', $what);
	($code, $out, $err) = $server->psql($database,
		"SELECT token_ledger.flush('mirror', '1 minute')");
	is("$code $out", '0 f', "$what: it is not waited for");
	like($err, qr/WARNING:  target "mirror" is suspended/, "$what: and why");
	is( $server->safe_psql($database,
			'SELECT forwarded, in_flight, pending, last_error IS NOT NULL'
			  . ' FROM token_ledger.status'),
		"0|0|$pending|t",
		"$what: everything is pending");
	identity_ok($server, $database, "$what: the identity holds");
	return;
}

# What the lanes of a database say that was new to the store.
sub rows_new
{
	my ($server, $database) = @_;

	return $server->safe_psql($database,
		'SELECT sum(l.rows_new) FROM token_ledger.lane l'
		  . ' JOIN token_ledger.target t ON t.id = l.target_id'
		  . ' JOIN token_ledger.cluster_key() k'
		  . ' ON (t.system_identifier, t.database_oid) ='
		  . ' (k.system_identifier, k.database_oid)');
}

sub adopt_fails
{
	my ($database, $arguments, $pattern, $what) = @_;
	my ($code, $out, $err) =
	  $node->psql($database, "SELECT token_ledger.adopt($arguments)");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	isnt($code, 0, "$what: fails");
	like($err, $pattern, $what);
	return;
}

# The original: 300 events are in the store, 40 are not.
set_targets($node, $mirror);
insert_events($node, 'app', 300, per_transaction => 100);
forwarded_ok($node, 'app', 'mirror', $node, 'store');
$node->safe_psql('app', "SELECT token_ledger.pause('mirror')");
insert_events($node, 'app', 40, first => 301);
state_ok($node, 'app', 'paused', 'the original is paused');

# A template copy.
foreach my $copy ('copy', 'later')
{
	$node->safe_psql('postgres', "CREATE DATABASE $copy TEMPLATE app");
}
$node->safe_psql('later', "SELECT token_ledger.$_('mirror')")
  foreach qw(pause resume);
is( $node->safe_psql('later', 'SELECT state FROM token_ledger.status'),
	'suspended', 'pause() and resume() make no original of a copy');
set_databases('app, copy, later');
insert_events($node, 'copy', 20, first => 1001);
suspended_ok($node, 'copy', 360, 'the copy');
is(stored(), '300|300', 'nothing of the copy is in the store');

adopt_fails('copy', "'mirror', 'tomorrow'",
	qr/invalid start "tomorrow".*missing, everything or now/s, 'an unknown start');
adopt_fails('copy', "'nobody'",
	qr/target "nobody" has not started in this database/, 'no target');
adopt_fails('app', "'mirror'",
	qr/target "mirror" is not suspended.*running/s, 'the original');
is($node->safe_psql('copy', 'SELECT token_ledger.adopt(NULL)'),
	'', 'adopt(NULL) does nothing');

$node->safe_psql('copy', "SELECT token_ledger.adopt('mirror')");
caught_up_ok($node, 'copy', 'mirror', name => 'the copy is adopted');
is(stored(), '360|360',
	'what the store had is not doubled, what it lacked has come');
is( $node->safe_psql('copy',
		'SELECT state, forwarded, skipped, last_error IS NULL,'
		  . ' error_since IS NULL FROM token_ledger.status'),
	'running|360|0|t|t', 'its account begins with the first event');
is(rows_new($node, 'copy'), '60', 'and knows which were new');
insert_events($node, 'copy', 5, first => 1021);
forwarded_ok($node, 'copy', 'mirror', $node, 'store');
identity_ok($node, 'copy');
is( $node->safe_psql('copy',
		'SELECT count(*), count(DISTINCT database_oid)'
		  . ' FROM token_ledger.target'),
	'2|2', 'the row of the original is history');
adopt_fails('copy', "'mirror'", qr/is not suspended/, 'once is enough');

# From now on only.
insert_events($node, 'later', 10, first => 2001);
suspended_ok($node, 'later', 350, 'the other copy');
$node->safe_psql('later',
	"SET tokenledger.allow_ledger_edits = on; DELETE FROM $ledger"
	  . " WHERE event_id = md5('event 2001')::uuid;"
	  . " SELECT token_ledger.adopt('mirror', 'now')");
wait_until($node, 'later',
	'SELECT state, skipped, pending, forwarded FROM token_ledger.status',
	'running|349|0|0', 'the other copy begins now');
identity_ok($node, 'later');
insert_events($node, 'later', 7, first => 3001);
caught_up_ok($node, 'later', 'mirror');
is(stored(), '372|372', 'and sends what comes');
identity_ok($node, 'later');

# The original has not noticed.
$node->safe_psql('app', "SELECT token_ledger.resume('mirror')");
caught_up_ok($node, 'app', 'mirror');
is(stored(), '372|372', 'the original sends what the copy has sent before');
identity_ok($node, 'app');

# A dump, restored into another cluster where lanes wait for the database.
my $ledger_id =
  $node->safe_psql('app', 'SELECT ledger_id FROM token_ledger.instance');
my $other = ledger_node('other', databases => [], conf => <<EOC);
$conf
tokenledger.databases = 'plain, parallel'
EOC

set_targets($other, $mirror);
$node->command_ok(
	[ 'pg_dump', '--file', "$dir/plain", '-d', $node->connstr('app') ],
	'pg_dump');
$node->command_ok(
	[
		'pg_dump', '--format', 'directory', '--file', "$dir/directory",
		'-d', $node->connstr('app')
	],
	'pg_dump, as a directory');
create_store($other, $_) foreach 'plain', 'parallel';

# In the midst of it: the extension is there, its rows are not.
my $dump = slurp_file("$dir/plain");

$dump =~ s/^(?=COPY[ ]token_ledger\.)
	/SELECT 'lanes: ' || token_ledger.forwarding_problem();\n/mx;
append_to_file("$dir/watched", $dump);
command_like(
	[
		'psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/watched", '-d',
		$other->connstr('plain')
	],
	qr/^lanes: a dump is being restored/m,
	'restored by psql, lanes waiting for it');
command_ok(
	[
		'pg_restore', '--exit-on-error', '--jobs', '2', '-d',
		$other->connstr('parallel'), "$dir/directory"
	],
	'restored by pg_restore');

my $stored = stored();

foreach my $copy ('plain', 'parallel')
{
	suspended_ok($other, $copy, 340, $copy);
	is(stored(), $stored, "$copy: nothing was forwarded");
	is($other->safe_psql($copy, 'SELECT ledger_id FROM token_ledger.instance'),
		$ledger_id, "$copy: it is the same ledger");
	is( $other->safe_psql($copy,
			'SELECT count(*), sum(forwarded) FROM token_ledger.target t'
			  . ' JOIN token_ledger.lane l ON l.target_id = t.id'
			  . ' WHERE window_to IS NOT NULL AND state = \'running\''),
		$node->safe_psql('app',
			'SELECT count(*), sum(forwarded) FROM token_ledger.lane'),
		"$copy: the rows of the original are history");
	insert_events($other, $copy, 3, first => 4001);
	$other->safe_psql($copy, "SELECT token_ledger.adopt('mirror')");
	caught_up_ok($other, $copy, 'mirror');
	identity_ok($other, $copy);
	$stored = '375|375';
}
is(stored(), '375|375', 'after adopt() nothing is missing or doubled');

# What belongs to a target goes with it.
$other->safe_psql('plain', 'DELETE FROM token_ledger.target');
is( $other->safe_psql('plain',
		'SELECT count(*) FROM token_ledger.lane l'
		  . ' WHERE NOT EXISTS (SELECT FROM token_ledger.target t'
		  . ' WHERE t.id = l.target_id)'),
	'0', 'no lane is left of a deleted target');
wait_until($other, 'plain', 'SELECT state, lanes FROM token_ledger.status',
	'running|2', 'and it is taken up anew');
caught_up_ok($other, 'plain', 'mirror');
is(stored(), '375|375', 'which doubles nothing');

# A dump, restored over the original: its cursors say nothing of these rows.
insert_events($node, 'app', 8, first => 5001);
caught_up_ok($node, 'app', 'mirror');
$node->safe_psql('app',
	'DROP EXTENSION tokenledger; DROP SCHEMA token_ledger');
command_ok(
	[
		'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain", '-d',
		$node->connstr('app')
	],
	'restored over the original');
state_ok($node, 'app', 'suspended', 'the original is suspended as well');
$node->safe_psql('app', "SELECT token_ledger.adopt('mirror')");
caught_up_ok($node, 'app', 'mirror');
is(stored(), '383|383', 'the original, adopted, doubles nothing');
identity_ok($node, 'app');

foreach my $server ($node, $other)
{
	unlike(slurp_file($server->logfile),
		qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');
}
done_testing();
