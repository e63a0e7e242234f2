# The version of a store's table: jobs that change it, columns that an older
# table lacks, tables that somebody else has made.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('schema', databases => [ 'app', 'other' ],
	conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $table = 'token_ledger_events';
my $next = 1;

create_store($node, $_) foreach qw(store hand shared);

sub sql
{
	return $node->safe_psql('app', $_[0]);
}

sub store_sql
{
	return $node->safe_psql('store', $_[0]);
}

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, %params);
	$next += $n;
	return;
}

sub entry
{
	my ($name, %options) = @_;

	return "app/$name=" . store_url($node, $name, lanes => 2, %options);
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

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# Every event is there once; values may have been left out.
sub arrived_ok
{
	my ($what) = @_;
	my @found;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up_ok($node, 'app', 'store', name => "$what: caught up");
	@found = grep { !/^different/ }
	  forwarding_differences($node, 'app', $node, 'store');
	return is("@found", '', $what);
}

# The last job of a target ends so.
sub job_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.jobs WHERE target = '$target'"
		  . ' ORDER BY id DESC LIMIT 1',
		$expected, $what);
}

sub versions
{
	my ($database) = @_;

	return $node->safe_psql($database,
		"SELECT string_agg(version::text, ' ' ORDER BY version)"
		  . ' FROM token_ledger_schema_version');
}

# Made by the first lane, as a job that nobody asked for.
set_targets($node, entry('store'));
status_is('store', 'state, remote_version, hint IS NULL, left_out IS NULL',
	'running|103|t|t', 'a new target');
job_is('store',
	'kind, version IS NULL, state, done, total, message, error IS NULL,'
	  . ' requested_by IS NULL, finished_at >= started_at,'
	  . ' started_at >= requested_at',
	'migrate|t|done|4|4|the table is at version 1.3|t|t|t|t',
	'its table was made by a job');
is(sql('SELECT count(*) FROM token_ledger.jobs'), '1', 'by one lane only');
is(sql("SELECT token_ledger.schema_version('store')"),
	'103', 'the store is asked for its version');
is( sql("SELECT version, description, applied, reversible,"
		  . " changes ~ 'cached_tokens'"
		  . " FROM token_ledger.available_migrations('store')"),
	"100|events table|t|f|f\n101|cached tokens|t|t|t\n"
	  . "102|index for dashboards|t|t|f\n103|attribution|t|t|f",
	'the migrations that there are');
like(
	store_sql('SELECT s.version, s.description, s.applied_at <= now(),'
		  . ' (SELECT count(*) FROM token_ledger_source)'
		  . ' FROM token_ledger_schema_version s ORDER BY 1 LIMIT 1'),
	qr/^100\|events table\|t\|1$/,
	'the store keeps its versions and the ledger');
is( store_sql('SELECT ledger_id FROM token_ledger_source'),
	sql('SELECT ledger_id FROM token_ledger.instance'),
	'which is this one');

# Back to 1.1, while events arrive.
insert_some(100);
caught_up_ok($node, 'app', 'store');
my $load = $node->background_psql('app', on_error_stop => 0);
$load->{stdin} .= <<'EOC';
DO $$ BEGIN
	FOR i IN 1 .. 1500 LOOP
		INSERT INTO token_ledger.token_ledger_events
			(provider, model, total_tokens) VALUES ('load', 'load', i);
		COMMIT;
	END LOOP;
END $$;
EOC
$load->{run}->pump_nb;
is( sql("CALL token_ledger.wait_for_job("
		  . "token_ledger.rollback('store', 101))"),
	'the table is at version 1.1', 'back to 1.1');
is(versions('store'), '100 101', 'the versions were taken back');
is( store_sql("SELECT count(*) FROM pg_attribute WHERE attrelid ="
		  . " '$table'::regclass AND attname = 'team' AND NOT attisdropped"),
	'0', 'and the columns');
status_is('store', 'state, remote_version, hint',
	qr/^running\|101\|.*version 1\.1: SELECT token_ledger\.migrate\('store'\)/,
	'status says what to do about it');
is( sql("SELECT applied FROM token_ledger.available_migrations('store')"),
	"t\nt\nf\nf", 'what is applied');

insert_some(20, set => { team => "'red'" });
insert_some(5,
	set => { team => "'red'", metadata_extra => "'{}'", cached_tokens => 7 });
insert_some(3, set => { feature => "'search'" });
insert_some(10);
wait_until($node, 'app',
	"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO \$\$%'"
	  . " AND state = 'active' AND pid <> pg_backend_pid()",
	'0', 'the load has ended');
$load->quit;
forwarded_ok($node, 'app', 'store', $node, 'store',
	name => 'a store at an older version gets the columns it has');
status_is('store', "left_out->>'team', left_out->>'feature',"
	  . " left_out->>'metadata_extra', left_out ? 'page',"
	  . " left_out ? 'cached_tokens'",
	'25|3|5|f|f', 'what was left out of how many events');

# Up step by step, as a request and a look at the view.
sql("SELECT token_ledger.migrate('store', 102)");
job_is('store', 'state, version, requested_by = session_user',
	'done|102|t', 'up to 1.2');
is(versions('store'), '100 101 102', 'one version up');
is( sql("CALL token_ledger.wait_for_job(token_ledger.migrate('store'))"),
	'the table is at version 1.3', 'up to the newest');
is(versions('store'), '100 101 102 103', 'all versions');
is( sql("CALL token_ledger.wait_for_job(token_ledger.migrate('store'))"),
	'the table is at version 1.3', 'a second time there is nothing to do');
status_is('store', 'remote_version, hint IS NULL, left_out IS NULL',
	'103|t|f', 'status forgets the hint, and not what was left out');
insert_some(10, set => { team => "'blue'" });
caught_up_ok($node, 'app', 'store');
is(store_sql("SELECT count(*) FROM $table WHERE team = 'blue'"),
	'10', 'new columns are filled at once');
status_is('store', "left_out->>'team'", '25', 'nothing is left out any more');
identity_ok($node, 'app');

# Requests that are wrong.
fails_like("SELECT token_ledger.migrate('store', 104)",
	qr/no schema version 104.*Available versions: 100, 101, 102, 103/s,
	'a version that there is not');
fails_like("SELECT token_ledger.rollback('store', 99)",
	qr/no schema version 99/, 'nor below');
fails_like("SELECT token_ledger.migrate('nobody')",
	qr/target "nobody" does not exist/, 'no target');
fails_like(
	"CALL token_ledger.wait_for_job(token_ledger.migrate('store', 101))",
	qr/has failed.*at version 1\.3: token_ledger\.rollback\('store', 101\)/s,
	'the wrong direction');
fails_like("CALL token_ledger.wait_for_job(0)", qr/job 0 does not exist/,
	'no such job');
fails_like(
	"BEGIN; CALL token_ledger.wait_for_job("
	  . "token_ledger.migrate('store')); COMMIT",
	qr/cannot run inside a transaction block.*Commit first/s,
	'waiting for what is not committed');
my $jobs = sql('SELECT max(id) FROM token_ledger.jobs');
sql("BEGIN; SELECT token_ledger.migrate('store'); ROLLBACK");
is(sql('SELECT max(id) FROM token_ledger.jobs'),
	$jobs, 'a request that is rolled back is none');
set_targets($node, entry('store') . ' app/null=null://');
wait_until($node, 'app',
	"SELECT count(*) FROM token_ledger.configured_targets()", '2',
	'a store without a schema');
fails_like("SELECT token_ledger.migrate('null')",
	qr/backend "null" of target "null" has no schema/, 'nothing to migrate');
fails_like("SELECT token_ledger.schema_version('null')",
	qr/has no schema/, 'and no version');

# While a target is paused its table may be changed.
sql("SELECT token_ledger.pause('store')");
status_is('store', 'state', 'paused', 'paused');
is( sql("CALL token_ledger.wait_for_job(token_ledger.rollback('store', 102))"),
	'the table is at version 1.2', 'a paused target does its jobs');
sql("SELECT token_ledger.resume('store')");

# A step that fails: what came before it stays, and forwarding goes on.
sql("CALL token_ledger.wait_for_job(token_ledger.rollback('store', 100))");
store_sql(<<'EOC');
CREATE FUNCTION no_columns() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_query() LIKE '%feature%' THEN RAISE 'no more columns'; END IF;
END $$;
CREATE EVENT TRIGGER no_columns ON ddl_command_start
	WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no_columns();
EOC
fails_like(
	"CALL token_ledger.wait_for_job(token_ledger.migrate('store'))",
	qr/job \d+ of target "store" has failed.*version 1\.3 could not be applied, the table stays at 1\.2 .* repeated: no more columns/s,
	'a migration that fails half-way');
job_is('store', 'state, done, total, code', 'failed|2|3|P0001',
	'the job tells how far it came');
is(versions('store'), '100 101 102', 'the steps before it are done');
insert_some(20);
arrived_ok('forwarding goes on with the columns that there are');
store_sql('DROP EVENT TRIGGER no_columns');
is( sql("CALL token_ledger.wait_for_job(token_ledger.migrate('store'))"),
	'the table is at version 1.3', 'it is repeated');

# Somebody is in the way.
set_targets($node, entry('store', timeout => '1s'));
my $blocker = $node->background_psql('store');
$blocker->set_query_timer_restart();
$blocker->query_safe("SET application_name = 'dashboard'; BEGIN;"
	  . " SELECT count(*) FROM $table;");
my ($code, $out, $err) = $node->psql('app',
	"CALL token_ledger.wait_for_job("
	  . "token_ledger.rollback('store', 102), '2 s')");
like($err, qr/has not ended yet: it is running|has failed/,
	'a table in use is not waited for for ever');
like($err, qr/lock timeout; the table is locked by process.*"dashboard"/,
	'who holds it');
job_is('store', 'state', 'failed', 'after some attempts it is given up');
$blocker->query_safe('COMMIT;');
is(versions('store'), '100 101 102 103', 'nothing was done');

# Cancelled while it waits to be tried again; and before it has begun.
set_targets($node,
	entry('store', timeout => '1s', retry_min => '1h', retry_max => '1h'));
status_is('store', 'lanes', '2', 'a lane that is patient');
$blocker->query_safe("BEGIN; SELECT count(*) FROM $table;");
my $job = sql("SELECT token_ledger.rollback('store', 102)");
job_is('store', 'state, error ~ \'lock timeout\'', 'running|t',
	'a job waits to be tried again');
is(sql("SELECT token_ledger.cancel_job($job)"), 't', 'it is cancelled');
job_is('store', 'state, finished_at IS NOT NULL', 'cancelled|t', 'at once');
is(sql("SELECT token_ledger.cancel_job($job)"), 'f', 'once');
fails_like("CALL token_ledger.wait_for_job($job)", qr/was cancelled/,
	'whoever waits for it is told');
fails_like('SELECT token_ledger.cancel_job(0)', qr/job 0 does not exist/,
	'no job');
$blocker->query_safe('COMMIT;');

# A lane that is busy with a range finishes it first.
set_targets($node, entry('store', timeout => '30s', claim_rows => 10));
status_is('store', 'lanes', '2', 'another entry');
$blocker->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE;");
insert_some(50, per_transaction => 5);
wait_until($node, 'app',
	"SELECT count(*) FROM token_ledger.lanes WHERE range_rows > 0"
	  . " AND target = 'store'",
	'2', 'both lanes are busy');
$job = sql("SELECT token_ledger.rollback('store', 102)");
is(sql("SELECT state FROM token_ledger.jobs WHERE id = $job"),
	'requested', 'a request waits for the range');
is(sql("SELECT token_ledger.cancel_job($job)"), 't', 'is cancelled meanwhile');
is(sql("SELECT state FROM token_ledger.jobs WHERE id = $job"),
	'cancelled', 'before it has begun');
$job = sql("SELECT token_ledger.rollback('store', 102)");
$blocker->query_safe('COMMIT;');
is(sql("CALL token_ledger.wait_for_job($job)"),
	'the table is at version 1.2', 'another one comes after the range');
arrived_ok('with all events in their place');

# A lane that ends in the midst of it, and a server.
foreach my $how ('terminate', 'immediate')
{
	$blocker->query_safe("BEGIN; SELECT count(*) FROM $table;");
	$job = sql("SELECT token_ledger.migrate('store')");
	wait_until($node, 'store',
		"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
		  . " AND query LIKE '%ADD COLUMN%'",
		'1', "$how: a step waits");
	if ($how eq 'terminate')
	{
		sql("SELECT pg_terminate_backend(pid) FROM token_ledger.lanes"
			  . " WHERE lane = 0 AND target = 'store'");
		$blocker->query_safe('COMMIT;');
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	is(sql("CALL token_ledger.wait_for_job($job)"),
		'the table is at version 1.3', "$how: the next owner goes on");
	next if $how eq 'immediate';
	sql("CALL token_ledger.wait_for_job("
		  . "token_ledger.rollback('store', 102))");
}
arrived_ok('and nothing was lost over it');

# A job that never gets on is not begun for ever.
sql("UPDATE token_ledger.target SET paused = true; SELECT token_ledger.wake();"
	  . " INSERT INTO token_ledger.job (target_id, kind, state, attempts,"
	  . " requested_by) SELECT id, 'migrate', 'running', 10, 'me'"
	  . " FROM token_ledger.target WHERE name = 'store'");
job_is('store', 'state, error', qr/^failed\|begun 10 times/,
	'a job that was begun too often');
sql("UPDATE token_ledger.target SET paused = false; SELECT token_ledger.wake()");

# auto_migrate=on brings a table up to date by itself.
sql("CALL token_ledger.wait_for_job(token_ledger.rollback('store', 101))");
set_targets($node, entry('store', auto_migrate => 'on'));
status_is('store', 'remote_version', '103', 'auto_migrate=on');
job_is('store', 'kind, state, requested_by IS NULL', 'migrate|done|t',
	'by a job of its own');
fails_like("SELECT token_ledger.rollback('store', 101)",
	qr/would bring the table .* up to date again.*auto_migrate=create/s,
	'and no way back');
set_targets($node, entry('store'));

# Newer than what is known here.
store_sql('INSERT INTO token_ledger_schema_version VALUES (105)');
sql("SELECT pg_terminate_backend(pid) FROM token_ledger.lanes");
insert_some(10);
status_is('store', 'state, cause, last_error',
	qr/^error\|schema\|.*at version 1\.5, .*knows none after 1\.3; install/,
	'a table that is too new');
is(sql("SELECT token_ledger.schema_version('store')"), '105', 'its version');
foreach my $request ("migrate('store')", "rollback('store', 102)")
{
	fails_like("CALL token_ledger.wait_for_job(token_ledger.$request)",
		qr/at version 1\.5/, "$request is of no use");
}
store_sql('DELETE FROM token_ledger_schema_version WHERE version = 105');
arrived_ok('when it is not any more');

# Too old to be filled.
store_sql('UPDATE token_ledger_schema_version SET version = 1'
	  . ' WHERE version = 100;'
	  . ' DELETE FROM token_ledger_schema_version WHERE version > 100');
sql("SELECT pg_terminate_backend(pid) FROM token_ledger.lanes");
insert_some(10);
status_is('store', 'state, cause, last_error',
	qr/^error\|schema\|.*version 0\.1, .*token_ledger\.migrate\('store'\)/,
	'a table that is too old says what to run');
is( sql("CALL token_ledger.wait_for_job(token_ledger.migrate('store'))"),
	'the table is at version 1.3', 'which helps');
arrived_ok('also the range that had to wait');

# A table that somebody has made by hand.
my $by_hand = 'CREATE TABLE ' . $table . ' (LIKE public.sample)';
$node->safe_psql('hand', <<'EOC');
CREATE EXTENSION tokenledger;
CREATE TABLE sample (LIKE token_ledger.token_ledger_events);
ALTER TABLE sample DROP ingest_xid, DROP ingest_seq;
EOC
sub by_hand
{
	my ($change) = @_;

	set_targets($node, entry('store'));
	status_is('hand', 'lanes', qr/^(0|)$/, 'no lane looks');
	$node->safe_psql('hand',
		"DROP TABLE IF EXISTS $table, token_ledger_schema_version,"
		  . " token_ledger_source; $by_hand; $change");
	set_targets($node,
		entry('store') . ' ' . entry('hand', check_kept => 'off'));
	return;
}

by_hand("ALTER TABLE $table DROP team, DROP cached_tokens,"
	  . ' ADD extra text, ALTER user_id TYPE varchar(5);');
status_is('hand', 'state, cause, last_error',
	qr/^error\|schema\|.*column "cached_tokens" is missing; column "team" is missing$/,
	'a table without some columns is not filled');
status_is('hand', 'remote_differences, remote_version IS NULL',
	'no unique index on exactly (event_id) that is valid, immediate and not'
	  . ' partial; column "cached_tokens" is missing; column "user_id" is'
	  . ' character varying(5) instead of text; column "team" is missing;'
	  . ' extra column "extra" (text)|t',
	'and described precisely');
status_is('hand', 'hint', qr/^SELECT token_ledger\.migrate\('hand'\) adds/,
	'with a hint');
is(sql("SELECT token_ledger.schema_version('hand')"),
	'0', 'it keeps no version');
is( sql("CALL token_ledger.wait_for_job(token_ledger.migrate('hand'))"),
	'the table is at version 1.3', 'which helps');
status_is('hand', 'state, remote_differences, guarantee', <<'EOC' =~ s/\n//gr,
running|no unique index on exactly (event_id) that is valid, immediate and not
 partial; column "user_id" is character varying(5) instead of text;
 extra column "extra" (text)|exactly once, by asking the store
EOC
	'it is filled, and what differs is told');
is( $node->safe_psql('hand', 'SELECT count(*) FROM token_ledger_source'),
	'1', 'the ledger is recorded');

by_hand("ALTER TABLE $table ALTER total_tokens TYPE integer;");
status_is('hand', 'state, cause, last_error',
	qr/^error\|schema\|.*column "total_tokens" is integer instead of bigint$/,
	'a column of another type');
fails_like("CALL token_ledger.wait_for_job(token_ledger.migrate('hand'))",
	qr/was not made by tokenledger: column "total_tokens" is integer/,
	'cannot be helped by a migration');
is( $node->safe_psql('hand',
		"SELECT to_regclass('token_ledger_schema_version') IS NULL"),
	't', 'and nothing was made beside it');

by_hand("ALTER TABLE $table ADD PRIMARY KEY (event_id);");
status_is('hand', 'state, remote_differences IS NULL, guarantee',
	'running|t|exactly once, per event', 'a table that has everything');

# Two databases at once.
sub shared_entry
{
	my ($database) = @_;

	return "$database/shared="
	  . store_url($node, 'shared', shared => 'on', table => 'public.both');
}

set_targets($node, shared_entry('app') . ' ' . shared_entry('other'));
wait_until($node, $_,
	"SELECT state, remote_version FROM token_ledger.status"
	  . " WHERE target = 'shared'",
	'running|103', "$_ fills the table that both have made")
  foreach qw(app other);
foreach my $round (1 .. 5)
{
	foreach my $request ("rollback('shared', 100)", "migrate('shared')")
	{
		my @jobs =
		  map { $node->safe_psql($_, "SELECT token_ledger.$request") }
		  qw(app other);

		$node->safe_psql($_, 'CALL token_ledger.wait_for_job('
			  . (shift @jobs) . ')')
		  foreach qw(app other);
	}
	is( $node->safe_psql('shared',
			'SELECT count(*), count(DISTINCT applied_at)'
			  . ' FROM both_schema_version'),
		'4|4', "round $round: two databases migrate, and it is done once");
}
insert_some(20);
caught_up_ok($node, $_, 'shared') foreach qw(app other);

# A ledger has no business with another one's table.
set_targets($node, entry('store') . ' other/theirs='
	  . store_url($node, 'store'));
wait_until($node, 'other',
	"SELECT state, last_error FROM token_ledger.status"
	  . " WHERE target = 'theirs'",
	qr/^error\|another ledger fills/, 'another ledger is refused');
like(
	($node->psql('other',
		"CALL token_ledger.wait_for_job("
		  . "token_ledger.rollback('theirs', 100))"))[2],
	qr/has failed.*another ledger fills/s,
	'and cannot change the table');
like(
	($node->psql('other', "SELECT token_ledger.create_schema('theirs')"))[2],
	qr/another ledger fills/, 'in no way');
arrived_ok('all events of the first ledger');

# Where no lane would do it.
set_targets($node, entry('store') . ' elsewhere/x=null://'
	  . ' app/two=' . store_url($node, 'hand', table => 'public.two'));
status_is('two', 'state', 'running', 'one more target');
insert_some(1);
caught_up_ok($node, 'app', 'two');
set_targets($node, entry('store') . ' app/two='
	  . store_url($node, 'hand', table => 'public.three'));
status_is('two', 'state', 'stopped', 'another destination');
fails_like("SELECT token_ledger.migrate('two')",
	qr/target "two" is stopped.*Set its URL back/s, 'a stopped target');
sql("UPDATE token_ledger.target SET state = 'suspended' WHERE name = 'store';"
	  . ' SELECT token_ledger.wake()');
fails_like("SELECT token_ledger.migrate('store')",
	qr/target "store" is suspended.*adopt/s, 'a suspended target');
sql("INSERT INTO token_ledger.job (target_id, kind, requested_by)"
	  . " SELECT id, 'migrate', 'me' FROM token_ledger.target"
	  . " WHERE name = 'store'; SELECT token_ledger.adopt('store')");
job_is('store', 'state, error', qr/^cancelled\|.*in the original/,
	'adopt() forgets what the original was asked for');
$node->safe_psql('postgres', q(ALTER SYSTEM SET tokenledger.databases = ''));
$node->reload;
wait_until($node, 'app', 'SELECT DISTINCT problem FROM token_ledger.status',
	'this database is not in tokenledger.databases', 'no lane runs');
fails_like("SELECT token_ledger.migrate('store')",
	qr/not in tokenledger\.databases.*create_schema/s,
	'a request that nobody would carry out');
is(sql("SELECT token_ledger.create_schema('store')"),
	'103', 'create_schema() needs no lane');

$blocker->quit;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');
done_testing();
