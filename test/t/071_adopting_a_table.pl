# A database in which the Python client has its table already: CREATE EXTENSION
# says so, or is not hindered, and doc/adopting-a-table.md, whose statements are
# run as they stand there, brings every event into the ledger while applications
# go on writing.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(strftime);
use Test::More;

use PythonClient;
use TokenLedger;

plan skip_all => python_hindrance() if python_hindrance();

my $ledger = 'token_ledger.token_ledger_events';
my $before = 'token_ledger_before.token_ledger_events';
my $base = strftime('%Y-%m-%dT%H:%M:%S+00:00', gmtime);
my $document = slurp_file("$ENV{TOKENLEDGER_TREE}/doc/adopting-a-table.md");
my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = ledger_node('adopting', databases => [], conf => <<'EOC');
tokenledger.databases = 'started, migrated, first, elsewhere'
EOC
my $mirror = store_url($node, 'store');

create_store($node, 'store');
set_targets($node, join ' ', map {
		"$_/mirror=$mirror&table=public.$_"
} qw(started migrated first elsewhere));
$node->safe_psql('postgres', 'CREATE ROLE my_app LOGIN');

# Of the application's role, as it is without the extension.
foreach my $database (qw(started migrated first elsewhere))
{
	create_store($node, $database);
	$node->safe_psql($database, <<"EOC");
ALTER DATABASE $database OWNER TO my_app;
GRANT ALL ON SCHEMA public TO my_app;
EOC
}

adopt_what_the_client_made();
adopt_what_its_migrations_made();
adopt_the_first_migration();
adopt_from_public();
every_statement_was_run();
done_testing();

# The statements of a section of the document, block by block.
sub blocks
{
	my ($section) = @_;
	my ($text) = $document =~ /^## \Q$section\E\n(.*?)(?=^## |\z)/ms;
	my @blocks = $text =~ /^```sql\n(.*?)^```$/msg;

	die "the document has no section $section" unless @blocks;
	return @blocks;
}

my %run;

sub run_block
{
	my ($database, $block) = @_;

	$run{$block} = 1;
	return $node->safe_psql($database, $block);
}

sub every_statement_was_run
{
	is_deeply([ grep { !$run{$_} } $document =~ /^```sql\n(.*?)^```$/msg ],
		[], 'every statement of the document was run');
	return;
}

sub app_url
{
	my ($database) = @_;

	return client_url($node, $database, user => 'my_app');
}

sub cli
{
	my ($database, @command) = @_;

	return run_python('-c',
		[ 'from tokenledger.cli import main; main()', 'db', @command, '-d',
			app_url($database) ]);
}

sub refused_ok
{
	my ($database, @names) = @_;
	my ($status, undef, $err) =
	  $node->psql($database, 'CREATE EXTENSION tokenledger');

	isnt($status, 0, "$database: CREATE EXTENSION is refused");
	like($err,
		qr/ERROR:  schema "token_ledger" holds the ledger of another client already/,
		'and says why');
	like($err, qr/DETAIL:  It holds @{[ join ', ', @names ]}\.$/m, 'and what');
	like($err, qr/HINT:  .*RENAME.*doc\/adopting-a-table\.md/,
		'and what to do');
	return;
}

sub count_of
{
	my ($database, $table) = @_;

	return $node->safe_psql($database, "SELECT count(*) FROM $table");
}

# What the old table has, the ledger has.
sub kept_ok
{
	my ($database, $old, $what) = @_;

	cmp_ok(count_of($database, $old), '>', 0, "$what: there were events");
	is( join("\n", forwarding_differences($node, $database, $node, $database,
				table => $old,
				where => "event_id IN (SELECT event_id FROM $old)")),
		'', "$what: every event is kept, in every column");
	return;
}

# The first three steps; the last is for who has looked.
sub adopt_from_token_ledger
{
	my ($database, @between) = @_;
	my ($create, $copy, $check) = blocks('In schema token_ledger');

	run_block($database, $create);
	run_block($database, $_) foreach @between;
	run_block($database, $copy);
	is(run_block($database, $check), '0', "$database: no event is missing");
	kept_ok($database, $before, $database);
	return;
}

# A transaction that has written to the old table when the schema is moved away
# is waited for; what it writes afterwards goes into the ledger.
sub adopt_around_a_late_commit
{
	my ($database) = @_;
	my ($create, $copy, $check) = blocks('In schema token_ledger');
	my $insert = "INSERT INTO $ledger (event_id, provider, model)"
	  . " VALUES (gen_random_uuid(), 'late', '%s')";
	my $late = $node->background_psql($database);
	my ($out, $err) = ('', '');
	my $copying;

	$late->query_safe('BEGIN; ' . sprintf $insert, 'before');
	run_block($database, $create);
	$copying = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
			$node->connstr($database), '-c', $copy ],
		'<', \undef, '>', \$out, '2>', \$err);
	wait_until($node, $database, <<"EOC", '1',
SELECT count(*) FROM pg_locks
WHERE relation = '$before'::regclass AND mode = 'ShareLock' AND NOT granted;
EOC
		'the copy waits for a transaction that has not ended');
	$late->query_safe(sprintf($insert, 'after') . '; COMMIT');
	$late->quit;
	ok($copying->finish, 'and goes on when it has') or diag($err);
	is( $node->safe_psql($database,
			"SELECT string_agg(model, ' ' ORDER BY model) FROM $ledger"
			  . " WHERE provider = 'late'"),
		'after before', 'its events are kept');
	is( count_of($database, "$before WHERE model = 'after'"),
		'0', 'the old table gets no more events');

	# Once more changes nothing.
	run_block($database, $copy);
	is(run_block($database, $check), '0', "$database: no event is missing");
	kept_ok($database, $before, $database);
	return;
}

sub finish_in_token_ledger
{
	my ($database) = @_;

	run_block($database, (blocks('In schema token_ledger'))[3]);
	is( $node->safe_psql($database,
			"SELECT count(*) FROM pg_namespace WHERE nspname ~ 'before'"),
		'0', "$database: the old schema is gone");
	goes_on_ok($database);
	return;
}

# The client starts and writes as if nothing had happened, and all is forwarded.
sub goes_on_ok
{
	my ($database) = @_;
	my $n = count_of($database, $ledger);

	run_python('start.py', [ (client_url($node, $database)) x 2 ]);
	run_python('write.py', [ app_url($database), $base, 'asyncpg backend' ]);
	is(count_of($database, $ledger), $n + 24, "$database: the client goes on");
	forwarded_ok($node, $database, 'mirror', $node, 'store',
		table => "public.$database");
	identity_ok($node, $database, "$database: the identity holds");
	return;
}

# An application that writes all the while.  Every event that it was told is
# written is in the ledger in the end.
sub start_application
{
	my ($database, $schema, $table) = @_;
	my $application = start_python('keep_writing.py',
		[ app_url($database), $schema ], "$dir/$database");

	grows_ok($database, $table, "$database: an application writes");
	return $application;
}

sub grows_ok
{
	my ($database, $table, $what) = @_;
	my $n = $node->safe_psql($database,
		"SELECT count(*) FROM $table WHERE model = 'kept'");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $provider (qw(tracker asyncpg))
	{
		wait_until($node, $database,
			"SELECT count(*) > $n + 50 FROM $table WHERE model = 'kept'"
			  . " AND provider = '$provider'",
			't', "$what by $provider");
	}
	return;
}

sub stop_application
{
	my ($database, $application) = @_;
	my @told;

	ok($application->finish, "$database: none of its batches failed")
	  or diag(slurp_file("$dir/$database"));
	@told = split ' ', slurp_file("$dir/$database");
	cmp_ok(scalar @told, '>', 200, 'it was told of many events');
	$node->safe_psql($database, 'CREATE TABLE public.told (event_id uuid)');
	$node->safe_psql($database, "COPY public.told FROM stdin;\n"
		  . join("\n", @told)
		  . "\n\\.\n");
	is($node->safe_psql($database, <<"EOC"),
SELECT count(*) FROM public.told t
WHERE NOT EXISTS (SELECT FROM $ledger e WHERE e.event_id = t.event_id);
EOC
		'0', 'every one of them is in the ledger');
	return;
}

# The table and the indexes of a start, views in public; while it goes on.
sub adopt_what_the_client_made
{
	my $application;

	run_python('write.py',
		[ app_url('started'), $base, '--create', 'backend', 'tracker' ]);
	refused_ok('started', 'table "token_ledger_events"');
	is( $node->safe_psql('started', <<'EOC'),
SELECT count(*) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'v';
EOC
		'2', 'the client has made its views');

	$application = start_application('started', 'token_ledger', $ledger);
	adopt_around_a_late_commit('started');
	grows_ok('started', $ledger, 'the application goes on');
	stop_application('started', $application);
	kept_ok('started', $before, 'after all');
	finish_in_token_ledger('started');
	return;
}

sub adopt_what_its_migrations_made
{
	cli('migrated', 'init');
	run_python('write.py', [ app_url('migrated'), $base, 'tracker' ]);
	refused_ok('migrated', 'table "alembic_version"',
		'view "token_ledger_cost_center_costs"',
		'view "token_ledger_daily_costs"', 'table "token_ledger_events"',
		'view "token_ledger_feature_costs"', 'view "token_ledger_team_costs"',
		'view "token_ledger_user_costs"');
	adopt_from_token_ledger('migrated');
	finish_in_token_ledger('migrated');
	like(join("\n", cli('migrated', 'upgrade')),
		qr/already up to date/, 'its migrations have nothing to do');
	return;
}

sub adopt_the_first_migration
{
	$node->safe_psql('first', 'CREATE SCHEMA token_ledger');
	$node->safe_psql('first', 'ALTER SCHEMA token_ledger OWNER TO my_app');
	cli('first', 'upgrade', '001');
	run_python('write.py', [ app_url('first'), $base, 'asyncpg' ]);
	adopt_from_token_ledger('first',
		blocks('A table of the first migration'));
	finish_in_token_ledger('first');
	return;
}

# Nothing hinders CREATE EXTENSION, and nobody writes into the ledger, before
# the view is there.
sub adopt_from_public
{
	my ($create, $copy, $check, $drop, $moved) = blocks('In schema public');
	my $old = 'public.token_ledger_events_before';
	my $application;

	cli('elsewhere', 'upgrade', '--schema', 'public');
	$application = start_application('elsewhere', 'public',
		'public.token_ledger_events');
	run_block('elsewhere', $create);
	grows_ok('elsewhere', $ledger, 'the application writes into the ledger');
	run_block('elsewhere', $copy);
	run_block('elsewhere', $copy);
	is(run_block('elsewhere', $check), '0', 'elsewhere: no event is missing');
	kept_ok('elsewhere', $old, 'elsewhere');
	stop_application('elsewhere', $application);
	run_block('elsewhere', $drop);
	run_block('elsewhere', $moved);
	goes_on_ok('elsewhere');
	return;
}
