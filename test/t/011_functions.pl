# SQL functions against running lanes: flush, pause, what asks a store, and who
# may do what.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $secrets = PostgreSQL::Test::Utils::tempdir;
my $node = ledger_node('functions', start => 0);
$node->append_conf('pg_hba.conf', 'local all all trust');
{
	my $hba = slurp_file($node->data_dir . '/pg_hba.conf');

	unlink $node->data_dir . '/pg_hba.conf';
	$node->append_conf('pg_hba.conf',
		"local all asked scram-sha-256\n" . $hba);
}
$node->start;
create_ledger($node, 'app');
create_store($node, 'store');
set_targets($node, 'mirror=' . store_url($node, 'store', lanes => 2));

my $ledger = 'token_ledger.token_ledger_events';
my $store = 'public.token_ledger_events';
my $inserted = 0;

sub sql
{
	return $node->safe_psql('app', $_[0]);
}

sub insert
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $inserted + 1);
	$inserted += $n;
	return;
}

sub stored
{
	return $node->safe_psql('store', "SELECT count(*) FROM $store");
}

sub fails_like
{
	my ($query, $pattern, $what) = @_;
	my ($code, $out, $err) = $node->psql('app', $query);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	isnt($code, 0, "$what: fails");
	like($err, $pattern, $what);
	return;
}

# A store that hangs: its table is locked by a prepared transaction.
sub hold_store
{
	return $node->safe_psql('store',
		"BEGIN; LOCK TABLE $store IN ACCESS EXCLUSIVE MODE;"
		  . " PREPARE TRANSACTION 'hold'");
}

sub release_store
{
	return $node->safe_psql('store', "ROLLBACK PREPARED 'hold'");
}

# Waits until so many events are claimed by lanes and not settled.
sub in_flight_ok
{
	my ($n, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT in_flight FROM token_ledger.status WHERE target = 'mirror'",
		$n, $what);
}

wait_until($node, 'app',
	"SELECT state, lanes FROM token_ledger.status WHERE target = 'mirror'",
	'running|2', 'both lanes run');

# flush

is(sql("SELECT token_ledger.flush('mirror')"), 't', 'nothing to flush');
insert(5000);
is(sql("SELECT token_ledger.flush('mirror')"), 't', 'flushed');
is(stored(), 5000, 'what was committed before flush is in the store after it');

is( sql(
		"BEGIN; INSERT INTO $ledger (provider, model) VALUES ('a', 'own');"
		  . " SELECT token_ledger.flush('mirror');"
		  . ' COMMIT'),
	't',
	'flush does not wait for its own transaction');
is(sql("SELECT token_ledger.flush('mirror')"), 't', 'flushed again');
is(stored(), 5001, 'and that transaction arrives when it is committed');

hold_store();
insert(10);
is(sql("SELECT token_ledger.flush('mirror', '200 ms')"),
	'f', 'flush gives up when its time is over');
in_flight_ok(10, 'the store hangs');
is(sql("BEGIN; SAVEPOINT s; INSERT INTO $ledger (provider, model)"
		  . " VALUES ('a', 'own'); SELECT token_ledger.flush('mirror', '0 s');"
		  . ' ROLLBACK'),
	'f', 'own events do not hide those that are under way');

# The transaction's snapshot is older than the settlement.
my $release = 'psql -qXAt -d "' . $node->connstr('store') . '"'
  . q( -c "ROLLBACK PREPARED 'hold'");
is( sql(
		'BEGIN ISOLATION LEVEL REPEATABLE READ;'
		  . " SELECT count(*) FROM $ledger;\n\\! $release\n"
		  . "SELECT token_ledger.flush('mirror'); COMMIT"),
	"5011\nt",
	'flush sees the cursor move in REPEATABLE READ');
is(stored(), 5011, 'and the events are there');

fails_like("SELECT token_ledger.flush('nobody')",
	qr/ERROR:  target "nobody" has not started in this database/,
	'flush of an unknown target');

# While others insert: whatever was committed at the call has arrived.
my $load = IPC::Run::start(
	[
		'psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr('app'), '-c',
		"DO \$\$ BEGIN WHILE to_regclass('enough') IS NULL LOOP INSERT INTO"
		  . " $ledger (provider, model) SELECT 'load', g::text"
		  . ' FROM generate_series(1, 5) g; COMMIT; END LOOP; END $$'
	]);
my ($checked, $missing) = (0, 0);

foreach my $round (1 .. 8)
{
	my @ids = split /\n/, sql("SELECT event_id FROM $ledger"
		  . " ORDER BY ingest_xid DESC, ingest_seq DESC LIMIT 500");

	is(sql("SELECT token_ledger.flush('mirror')"),
		't', "flush under load, round $round");
	$missing += $node->safe_psql('store',
			"SELECT count(*) FROM unnest('{"
		  . join(',', @ids)
		  . "}'::uuid[]) AS id WHERE NOT EXISTS"
		  . " (SELECT FROM $store WHERE event_id = id)");
	$checked += @ids;
}
ok($load->pumpable, 'the load went on meanwhile');
sql('CREATE TABLE enough ()');
$load->finish;
is($load->result(0), 0, 'the load has ended well');
is($missing, 0, "$checked events that were committed have arrived");
forwarded_ok($node, 'app', 'mirror', $node, 'store');
identity_ok($node, 'app');
my $before = stored();

# pause and resume

hold_store();
insert(20);
in_flight_ok(20, 'events are claimed');
sql("SELECT token_ledger.pause('mirror')");
insert(30);
release_store();
wait_until($node, 'app',
	'SELECT state, in_flight, pending FROM token_ledger.status',
	'paused|0|30', 'a claimed range is finished, nothing new is claimed');
is(stored(), $before + 20, 'the store has what was claimed');
my ($code, $out, $err) =
  $node->psql('app', "SELECT token_ledger.flush('mirror', '1 minute')");
is("$code $out", '0 f', 'a paused target is not waited for');
like($err, qr/WARNING:  target "mirror" is paused/, 'and why');

$node->restart;
wait_until($node, 'app', 'SELECT state, lanes FROM token_ledger.status',
	'paused|2', 'still paused after a restart');
is(sql('SELECT in_flight, pending FROM token_ledger.status'),
	'0|30', 'and nothing was claimed');
sql("BEGIN; SELECT token_ledger.resume('mirror'); ROLLBACK");
is(sql('SELECT state FROM token_ledger.status'),
	'paused', 'a resume that is rolled back is none');
sql("SELECT token_ledger.resume('mirror')");
is(sql("SELECT token_ledger.flush('mirror')"), 't', 'resumed');
is(stored(), $before + 50, 'it goes on where it was');

# Paused before a lane has ever taken it up.
fails_like("SELECT token_ledger.pause('early')",
	qr/target "early" does not exist.*\n?.*tokenledger\.targets/s,
	'a target that is not configured');
$node->safe_psql('postgres', q(ALTER SYSTEM SET tokenledger.databases = ''));
$node->reload;
wait_until($node, 'app', "SELECT problem, lanes FROM token_ledger.status",
	'this database is not in tokenledger.databases|0',
	'no lane runs');
set_targets($node, 'mirror=' . store_url($node, 'store', lanes => 2)
	  . ' early=null://early');
wait_until($node, 'app',
	"SELECT state FROM token_ledger.status WHERE target = 'early'",
	'starting', 'a target that no lane has taken up');
is( sql("SELECT pending IS NULL FROM token_ledger.status"
		  . " WHERE target = 'early'"),
	't', 'what it has to forward is not known');
sql("SELECT token_ledger.pause('early')");
is(sql("SELECT state FROM token_ledger.status WHERE target = 'early'"),
	'paused', 'it is paused at once');
fails_like("SELECT token_ledger.flush('other')",
	qr/target "other" has not started/, 'flush of a target without a row');
$node->safe_psql('postgres', 'ALTER SYSTEM SET tokenledger.databases = app');
$node->reload;
wait_until($node, 'app',
	"SELECT state, lanes, forwarded, pending > 0 FROM token_ledger.status"
	  . " WHERE target = 'early'",
	'paused|1|0|t', 'its lane starts and claims nothing');
sql("SELECT token_ledger.resume('early')");
caught_up_ok($node, 'app', 'early');
identity_ok($node, 'app');

# Asking a store

$node->safe_psql('postgres', <<'EOC');
CREATE ROLE asked LOGIN PASSWORD 's3cr3t';
CREATE DATABASE empty OWNER asked;
EOC
append_to_file("$secrets/right", "s3cr3t\n");
append_to_file("$secrets/wrong", "wr0ng-s3cr3t\n");
chmod 0600, "$secrets/right", "$secrets/wrong";

my %asked = (user => 'asked', auto_migrate => 'off');
my $gone = $node->host . '/nowhere';

set_targets($node,
		'mirror=' . store_url($node, 'store', lanes => 2)
	  . ' right=' . store_url($node, 'empty', %asked,
		password_file => "$secrets/right")
	  . ' wrong=' . store_url($node, 'empty', %asked, table => 'public.w',
		password_file => "$secrets/wrong")
	  . " gone=postgresql://u\@/d?host=$gone"
	  . " far=postgresql://u\@localhost/d?hostaddr=192.0.2.1"
	  . ' bad=nosuch://x');
wait_until($node, 'app',
	"SELECT count(*) FROM token_ledger.configured_targets()", '6',
	'more targets');

is(sql("SELECT healthy, latency_ms > 0, code IS NULL"
		  . " FROM token_ledger.health_check('right')"),
	't|t|t', 'a healthy store');
like(sql("SELECT healthy, code, message"
		  . " FROM token_ledger.health_check('wrong')"),
	qr/^f\|28P01\|.*password authentication failed for user "asked"/,
	'a wrong password');
like(sql("SELECT healthy, message FROM token_ledger.health_check('gone')"),
	qr/^f\|.*No such file/, 'a store that is not there');
fails_like("SELECT * FROM token_ledger.health_check('bad')",
	qr/target "bad" is invalid: there is no backend "nosuch"/,
	'an invalid target');
fails_like("SELECT * FROM token_ledger.health_check('none')",
	qr/target "none" does not exist in this database/, 'no target');

my $info = sql("SELECT * FROM token_ledger.connection_info('wrong')");
like($info, qr/^backend\|postgres$/m, 'connection_info: the backend');
like($info, qr/^user\|asked$/m, 'connection_info: the user');
like($info, qr/^destination\|postgres:.*empty/m,
	'connection_info: the destination');
unlike($info, qr/s3cr3t/, 'connection_info: no secret');
like(sql("SELECT * FROM token_ledger.connection_info('gone')"),
	qr/^destination\|.*nowhere/m, 'connection_info does not connect');
like(sql("SELECT * FROM token_ledger.connection_info('far')"),
	qr/^sslmode\|verify-full$/m,
	'a local name with an address elsewhere is verified');

wait_until($node, 'app',
	'SELECT target, state, cause FROM token_ledger.status'
	  . " WHERE target IN ('right', 'wrong', 'gone', 'bad') ORDER BY target",
	"bad|invalid|config\ngone|error|network\nright|error|schema\n"
	  . 'wrong|error|auth',
	'status says what is wrong with each');
like(sql("SELECT last_error FROM token_ledger.status WHERE target = 'right'"),
	qr/create_schema\('right'\)/, 'and what to do about a missing table');
is(sql('SELECT count(*) FROM token_ledger.status AS s'
		  . " WHERE to_jsonb(s)::text ~ 's3cr3t'"),
	'0', 'status shows no secret');

is(sql("SELECT token_ledger.create_schema('right')"),
	'103', 'create_schema returns the version');
is(sql("SELECT token_ledger.create_schema('right')"),
	'103', 'create_schema once more');
is( $node->safe_psql('empty',
		'SELECT count(*), max(version) FROM token_ledger_schema_version'),
	'4|103', 'the store knows each version');
fails_like("SELECT token_ledger.create_schema('wrong')",
	qr/could not .* target "wrong" \(auth\)/, 'create_schema, refused');
fails_like("SELECT token_ledger.create_schema('early')",
	qr/target "early" does not exist/, 'create_schema, not configured');
forwarded_ok($node, 'app', 'right', $node, 'empty',
	name => 'the target goes on by itself once its table is there');
forwarded_ok($node, 'app', 'mirror', $node, 'store',
	name => 'the troubles of others have not disturbed the mirror');
is(sql("SELECT state, last_error IS NULL, error_since IS NULL"
		  . " FROM token_ledger.status WHERE target = 'right'"),
	'running|t|t', 'the error is gone from status');

# backends and their options

like(sql("SELECT name, jsonb, upsert, streaming, max_lanes IS NULL,"
		  . ' recommended_batch_rows > 0, error IS NULL'
		  . ' FROM token_ledger.backends()'
		  . " WHERE name IN ('null', 'postgres') ORDER BY name"),
	qr/^null\|.*\npostgres\|t\|t\|.*\|t$/s, 'backends()');
is( sql("SELECT option, secret, destination"
		  . " FROM token_ledger.backend_options('postgresql')"
		  . " WHERE option IN ('table', 'sslmode', 'lanes', 'password')"
		  . ' ORDER BY option'),
	"lanes|f|f\npassword|t|f\nsslmode|f|f\ntable|f|t",
	'backend_options(), by an alias');
is(sql("SELECT count(*) FROM token_ledger.backend_options('postgres')"
		  . " WHERE description IS NULL OR description = ''"),
	'0', 'each option is described');
fails_like("SELECT * FROM token_ledger.backend_options('nosuch')",
	qr/nosuch/, 'an unknown backend');

# Who may do what

sql(<<'EOC');
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE writer LOGIN;
CREATE ROLE stranger LOGIN;
SELECT token_ledger.grant_writer('writer');
EOC
my %view = (
	status => 'target = \'mirror\' AND forwarded > 0',
	lanes => 'target = \'mirror\' AND pid IS NOT NULL AND lane = 0',
	accounting => 'target = \'mirror\' AND difference = 0');

foreach my $view (sort keys %view)
{
	is(sql("SET ROLE watcher;"
			  . " SELECT count(*) FROM token_ledger.$view WHERE $view{$view}"),
		'1', "pg_monitor reads $view");
	fails_like("SET ROLE stranger; TABLE token_ledger.$view",
		qr/permission denied/, "a stranger does not read $view");
	fails_like("SET ROLE writer; TABLE token_ledger.$view",
		qr/permission denied/, "a writer does not read $view");
}
foreach my $call (
	"flush('mirror')", "pause('mirror')", "resume('mirror')",
	"adopt('mirror')", "health_check('mirror')", "create_schema('mirror')",
	"connection_info('mirror')", 'wake()')
{
	foreach my $role (qw(watcher writer stranger))
	{
		fails_like("SET ROLE $role; SELECT token_ledger.$call",
			qr/permission denied/, "$role: $call");
	}
}
fails_like("SET ROLE watcher; SELECT token_ledger.record('a', 'b')",
	qr/permission denied/, 'pg_monitor does not write');
fails_like("SET ROLE watcher; SELECT count(*) FROM $ledger",
	qr/permission denied/, 'pg_monitor does not read events');

my $columns = 'event_id, provider, model, total_tokens';
my $rows = 'SELECT gen_random_uuid(), \'writer\', \'copied\', g'
  . ' FROM generate_series(1, 300) g';
my $file = PostgreSQL::Test::Utils::tempdir . '/rows';

append_to_file($file, sql("COPY ($rows) TO STDOUT") . "\n");
sql(<<EOC);
SET ROLE writer;
INSERT INTO $ledger (provider, model) VALUES ('writer', 'inserted');
INSERT INTO $ledger (event_id, provider, model)
VALUES (md5('twice')::uuid, 'writer', 'kept'),
	(md5('twice')::uuid, 'writer', 'left')
ON CONFLICT (event_id) DO NOTHING RETURNING event_id;
SELECT token_ledger.record('writer', 'recorded', input_tokens => 5,
	output_tokens => 6, team => 'blue');
\\copy $ledger ($columns) FROM '$file'
EOC
forwarded_ok($node, 'app', 'mirror', $node, 'store',
	name => 'what a writer inserts, copies and records arrives');
is( $node->safe_psql('store',
		"SELECT model, count(*), sum(total_tokens), max(team) FROM $store"
		  . " WHERE provider = 'writer' GROUP BY 1 ORDER BY 1"),
	"copied|300|45150|\ninserted|1|0|\nkept|1|0|\nrecorded|1|11|blue",
	'all of it');

identity_ok($node, 'app');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|s3cr3t/,
	'nothing crashed, no secret was logged');
done_testing();
