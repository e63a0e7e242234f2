# The Python client "tokenledger" 0.1.1, as it is, on the extension's schema: its
# starts and migrations change nothing, each of its ways to write arrives whole
# in the ledger and in a store, and its queries and its dashboard's API answer
# what SQL says.  A table of the client's own making is the measure: where it
# fails there, it may fail here.
use strict;
use warnings FATAL => 'all';

use JSON::PP;
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use PythonClient;
use TokenLedger;

plan skip_all => python_hindrance() if python_hindrance();

my $ledger = 'token_ledger.token_ledger_events';
my $tokenledger = 'from tokenledger.cli import main; main()';
my $base = strftime('%Y-%m-%dT%H:%M:%S+00:00', gmtime);
my @paths = (
	'tracker', 'background', 'tracker with backend', 'backend', 'asyncpg',
	'asyncpg backend');
my $per_path = 24;
my $node = ledger_node('ledger');
my $warehouse = PostgreSQL::Test::Cluster->new('warehouse');

$warehouse->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$warehouse->append_conf('postgresql.conf', 'log_statement = none');
$warehouse->start;
create_store($warehouse, 'store');
create_store($node, $_) foreach qw(plain path);
create_ledger($node, 'path');
set_targets($node, 'app/mirror=' . store_url($warehouse, 'store'));
$node->safe_psql('app', <<'EOC');
CREATE ROLE app_writer LOGIN;
SELECT token_ledger.grant_writer('app_writer');
CREATE ROLE app_reader LOGIN;
GRANT USAGE ON SCHEMA token_ledger TO app_reader;
GRANT SELECT ON token_ledger.token_ledger_events TO app_reader;
EOC

my $owner_url = client_url($node, 'app');
my $writer_url = client_url($node, 'app', user => 'app_writer');
my $reader_url = client_url($node, 'app', user => 'app_reader');
my $plain_url = client_url($node, 'plain');

starts_change_nothing();
starts_need_rights();
every_path_arrives();
answers_are_right();
application_is_recorded();
odd_values_are_kept();
migrations_change_nothing();
forwarded_ok($node, 'app', 'mirror', $warehouse, 'store');
identity_ok($node, 'app');
done_testing();

# Everything there is in the database, the extension's members one by one and
# with their OIDs, and the client's revision.
sub catalog
{
	my ($database) = @_;
	my ($out, $err) = run_command(
		[ 'pg_dump', '--binary-upgrade', '--schema-only',
			$node->connstr($database) ]);
	my $revision = $node->safe_psql($database,
		'SELECT ctid, xmin, * FROM token_ledger.alembic_version');

	die $err if $err ne '';
	return (split(/\n/, $out =~ s/^\\(un)?restrict .*//mgr), $revision);
}

# Lines that only the one or only the other has.
sub differences
{
	my ($before, $after) = @_;
	my %before = map { $_ => 1 } @$before;
	my %after = map { $_ => 1 } @$after;

	return ((map { "-$_" } grep { !$after{$_} } @$before),
		map { "+$_" } grep { !$before{$_} } @$after);
}

sub unchanged_ok
{
	my ($database, $before, $what) = @_;
	my @after = catalog($database);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(scalar @$before, '>', 1000, "$what: there is a catalog");
	is(join("\n", differences($before, \@after)),
		'', "$what: it is what it was");
	return;
}

sub starts_change_nothing
{
	my @before = catalog('app');
	my @once;

	# Two views in public are all that it finds missing.
	run_python('start.py', [$owner_url]);
	is($node->safe_psql('app', <<'EOC'),
SELECT string_agg(format('%s %s', relname, relkind), ', ' ORDER BY relname)
FROM pg_class WHERE relnamespace = 'public'::regnamespace;
EOC
		'token_ledger_daily_costs v, token_ledger_user_costs v',
		'the first start makes two views');
	@once = catalog('app');
	run_python('start.py', [ $owner_url, $owner_url ]);
	unchanged_ok('app', \@once, 'later starts');
	$node->safe_psql('app',
		'DROP VIEW public.token_ledger_daily_costs,'
		  . ' public.token_ledger_user_costs');
	unchanged_ok('app', \@before, 'without these views');

	# Where the schema is first in the path, it replaces ours by views with the
	# same columns, which stay members of the extension.
	run_python('start.py',
		[ (client_url($node, 'path',
					options => { search_path => 'token_ledger' })) x 2 ]);
	is($node->safe_psql('path', <<'EOC'),
SELECT count(*) FROM pg_depend
WHERE classid = 'pg_class'::regclass AND deptype = 'e'
	AND objid IN ('token_ledger.token_ledger_daily_costs'::regclass,
		'token_ledger.token_ledger_user_costs'::regclass);
EOC
		'2', 'with the schema in its path it finds everything');
	return;
}

# What it does by default is for the owner of the table.
sub starts_need_rights
{
	my ($status, undef, $err) = try_python('start.py', [$writer_url]);

	isnt($status, 0, 'a writer cannot start with the client\'s defaults');
	like($err, qr/permission denied for schema token_ledger/,
		'and is told so');
	return;
}

sub every_path_arrives
{
	my %expected = (
		'tracker' => $per_path % 7,
		'background' => 0,
		'tracker with backend' => $per_path % 7,
		'backend' => 2 * $per_path,
		'asyncpg' => 2 * $per_path,
		'asyncpg backend' => 2 * $per_path,
		'asyncpg tracker' => 0,
		'asyncpg tracker with backend' => 'WriteError');
	my %by_psycopg = map { $_ => $expected{$_} } @paths[ 0 .. 3 ];
	my @tracking = ('asyncpg tracker', 'asyncpg tracker with backend');
	my $create = 'from tokenledger.migrations import MigrationRunner;'
	  . ' MigrationRunner("%s")._create_schema()';

	# The tracker alone does not make the schema.
	run_python('-c', [ sprintf $create, $plain_url ]);
	foreach my $database (
		[ 'the client\'s own table', $plain_url, $plain_url, '--create' ],
		[ 'the ledger', $owner_url, $writer_url, undef ])
	{
		my ($what, $owner, $writer, $option) = @$database;
		my @option = grep { defined } $option;

		is_deeply(
			said_by(run_python('write.py',
					[ $owner, $base, '--create', @paths, @tracking ])),
			\%expected, "$what: what the client says of its paths");
		is_deeply(
			said_by(run_python('write.py',
					[ $writer, $base, '--psycopg', @option,
						sort keys %by_psycopg ])),
			\%by_psycopg, "$what: and by the other driver");
	}

	is( $node->safe_psql('app',
			"SELECT count(*), count(DISTINCT metadata ->> 'path')"
			  . " FROM $ledger"),
		$per_path * (@paths + 4) . '|' . (@paths + 4),
		'the events of every path are in the ledger, once');
	is(join("\n", forwarding_differences($node, 'plain', $node, 'app',
				table => $ledger)),
		'', 'as they are in a table of the client\'s own');
	return;
}

sub answers_are_right
{
	my %answers;

	foreach my $how (qw(queries async api))
	{
		my @lines = run_python('ask.py', [ $reader_url, $how ]);

		answers_ok($how, @lines);
		is_deeply(\@lines, [ run_python('ask.py', [ $plain_url, $how ]) ],
			"$how: the same as of a table of the client's own");
	}
	answers_ok('api by asyncpg', run_python('ask.py', [ $reader_url, 'api' ],
			TOKENLEDGER_USE_ASYNCPG => '1'));
	return;
}

sub application_is_recorded
{
	run_python('application.py', [$writer_url]);
	is($node->safe_psql('app', <<'EOC'), <<'EOC' =~ s/\n\z//r,
SELECT project, provider, model, input_tokens, output_tokens, total_tokens,
	cached_tokens, cost_usd, status, error_type, user_id, team, page,
	duration_ms >= 0, metadata ->> 'http_path'
FROM token_ledger.token_ledger_events WHERE app_name = 'application'
ORDER BY ingest_xid, ingest_seq;
EOC
openai|openai|gpt-4o|11|7|18|3|0.00009375|success||somebody|red||t|
openai, failing|openai|none|0|0|0|0||error|NotFoundError||||t|
anthropic|anthropic|claude-3-5-haiku-20241022|5|6|11|2|0.00002656|success|||||t|
google|google|gemini-2.5-flash|4|9|13|0|0.00002370|success|||||t|
decorated|openai|gpt-4o|20|30|50|0|0.00035000|success||somebody|||t|
decorated, async|openai|gpt-4o|20|30|50|0|0.00035000|success|||||t|
decorated, failing|openai|gpt-4o|0|0|0|0|0.00000000|error|ValueError||||t|
by hand|openai|gpt-4o|150|500|650|0|0.00537500|success||somebody||||
fastapi|openai|gpt-4o|1|2|3|0|0.00002250|success||caller|blue|/page||/page
flask|openai|gpt-4o|3|4|7|0|0.00004750|success||caller|blue|/page||/page
EOC
		'an application by interceptors, decorators and middleware');
	return;
}

# One value out of a column's range costs a table of the client's own the whole
# batch.
sub odd_values_are_kept
{
	is_deeply(
		said_by(run_python('write.py', [ $plain_url, $base, 'odd values' ])),
		{ 'odd values' => 0 },
		'the client\'s own table takes none of a batch with odd values');
	is_deeply(
		said_by(run_python('write.py', [ $writer_url, $base, 'odd values' ])),
		{ 'odd values' => 11 }, 'the ledger takes all');
	is($node->safe_psql('app', <<'EOC'), <<'EOC' =~ s/\n\z//r,
SELECT length(provider), length(model), length(team), length(user_id),
	input_tokens, total_tokens, cost_usd, status, request_type, session_id = '',
	"timestamp" AT TIME ZONE 'UTC' < '2000-01-01'
FROM token_ledger.token_ledger_events
WHERE provider = 'odd' OR provider LIKE 'ppp%'
ORDER BY ingest_xid, ingest_seq;
EOC
3|300|||0|0||success|chat||f
60|3|200||0|0||ssssssssssssssssssssssssssssss|chat||f
3|3||5000|0|0||success|chat||f
3|3|||3000000000|9000000000||success|chat||f
3|3|||-1|7||success|chat||f
3|3|||0|0|123456.00000000|success|chat||f
3|3|||0|0|NaN|success|chat||f
3|3|||0|0|-1.00000000|success|chat||f
3|3|||0|0|||||f
3|3|||0|0||success|chat|t|f
3|3|||0|0||success|chat||t
EOC
		'as they were sent');
	return;
}

sub migrations_change_nothing
{
	my @before = catalog('app');
	my @upgrade = ($tokenledger, 'db', 'upgrade', '-d');
	my $alembic =
	  'import os, sys, tokenledger; from alembic.config import main;'
	  . ' os.chdir(os.path.dirname(tokenledger.__file__));'
	  . ' main(argv=sys.argv[1:])';
	my ($status, $out, $err);

	foreach my $url ($owner_url, $writer_url)
	{
		like(join("\n", run_python('-c', [ @upgrade, $url ])),
			qr/already up to date/, 'db upgrade finds nothing to do');
	}
	run_python('-c', [ $tokenledger, 'db', 'init', '-d', $owner_url ]);
	unchanged_ok('app', \@before, 'after db upgrade and db init');

	# The command's own message where SQLAlchemy takes postgresql:// to mean a
	# driver that is missing.
	($status, $out) = try_python('-c',
		[ "import sys; sys.modules['psycopg'] = None; $upgrade[0]",
			@upgrade[ 1 .. 3 ], $owner_url ]);
	like($out, qr/not fully implemented/, 'db upgrade without psycopg');
	like(join("\n", run_python('-c',
				[ "import sys; sys.modules['psycopg'] = None; $upgrade[0]",
					@upgrade[ 1 .. 3 ],
					$owner_url =~ s/postgresql:/postgresql+psycopg2:/r ])),
		qr/already up to date/, 'does with the driver in the URL');

	run_python('-c', [ $alembic, '-x', 'schema=token_ledger', 'upgrade',
			'head' ], DATABASE_URL => $owner_url);
	unchanged_ok('app', \@before, 'after alembic upgrade head');
	foreach my $revision (qw(001 base))
	{
		($status, $out) = try_python('-c',
			[ $tokenledger, 'db', 'downgrade', '-y', '-d', $owner_url,
				$revision ]);
		isnt($status, 0, "a downgrade to $revision is refused");
		like($out, qr/extension\s+tokenledger\s+requires\s+it/,
			'by PostgreSQL');
	}
	unchanged_ok('app', \@before, 'after the downgrades');
	return;
}
