# A dumped and restored ledger has the catalogs of a fresh one, however the
# original came to its version; an update that is blocked names who blocks it;
# what is called as in 1.0 works at each version.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('versions',
	databases => [],
	conf => "max_prepared_transactions = 2\n");
my $dir = PostgreSQL::Test::Utils::tempdir;

# The comparison of test/sql/versions.sql.
sub facts_function
{
	my $file = dirname(__FILE__) . '/../sql/versions.sql';
	my ($function) =
	  slurp_file($file) =~ /^(CREATE FUNCTION public\.facts.*?^\$\$;)$/ms;

	die "$file has no function public.facts" unless defined $function;
	return $function;
}

# Lines that only one of them has; "-": the expected one.
sub differences
{
	my ($expected, $found) = @_;
	my %expected = map { $_ => 1 } @$expected;
	my %found = map { $_ => 1 } @$found;

	return join "\n",
	  (map { "- $_" } sort grep { !$found{$_} } keys %expected),
	  (map { "+ $_" } sort grep { !$expected{$_} } keys %found);
}

my $facts = facts_function();

sub facts
{
	my ($database, $attnums) = @_;
	my $out = $node->safe_psql($database,
			"$facts\n"
		  . "SELECT replace(fact, E'\\n', ' ') FROM public.facts($attnums);"
		  . ' DROP FUNCTION public.facts');

	return [ split /\n/, $out ];
}

sub same_catalogs_ok
{
	my ($database, $attnums, $what) = @_;
	my $differences =
	  differences(facts('fresh', $attnums), facts($database, $attnums));

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($differences, '', $what);
}

sub create_database
{
	my ($database, @commands) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, $_) foreach @commands;
	return;
}

my $update = 'ALTER EXTENSION tokenledger UPDATE';
my $old = "CREATE EXTENSION tokenledger VERSION '1.0'";
my %ways = (
	fresh => ['CREATE EXTENSION tokenledger'],
	directly => [ $old, $update ],
	step_by_step => [ $old, map { "$update TO '$_'" } qw(1.1 1.2 1.3) ],
	and_back => [
		$old, map { "$update TO '$_'" } qw(1.3 1.2 1.1 1.0 1.3)
	]);

foreach my $way (qw(fresh directly step_by_step and_back))
{
	my $attnums = $way eq 'and_back' ? 'false' : 'true';

	create_database($way, @{ $ways{$way} });
	insert_events($node, $way, 10);
	same_catalogs_ok($way, $attnums, "updated $way");
	$node->command_ok(
		[
			'pg_dump', '-Fc', '-f', "$dir/$way.dump",
			$node->connstr($way)
		],
		"$way: dumped");
	create_database("restored_$way");
	$node->command_ok(
		[
			'pg_restore', '-e', '-d', $node->connstr("restored_$way"),
			"$dir/$way.dump"
		],
		"$way: restored");
	same_catalogs_ok("restored_$way", 'true',
		"$way, then dumped and restored");
	is( $node->safe_psql("restored_$way",
			'SELECT count(*) FROM token_ledger.token_ledger_events'),
		'10',
		"$way: with its events");
}
$node->safe_psql('directly',
	"COMMENT ON TABLE token_ledger.target IS 'another'");
like(differences(facts('fresh', 'true'), facts('directly', 'true')),
	qr/^- comment .*\n\+ comment table token_ledger\.target : another$/,
	'a difference is seen and printed');

# Who blocks an update.
sub blocked_like
{
	my ($version, $pattern, $what) = @_;
	my ($code, undef, $error) =
	  $node->psql('fresh', "$update TO '$version'");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	isnt($code, 0, "$what: the update gives up");
	return like($error, $pattern, $what);
}

my $dashboard = $node->background_psql('fresh');
$dashboard->set_query_timer_restart();
$dashboard->query_safe("SET application_name = 'dashboard'; BEGIN;"
	  . ' SELECT count(*) FROM token_ledger.token_ledger_events;');
blocked_like(
	'1.2',
	qr/was in use for 5s.*process \d+ \(user "\w+", application "dashboard", idle in transaction\)/s,
	'a dashboard that is idle in transaction is named');
$dashboard->query_safe('COMMIT;');
$dashboard->quit;
$node->safe_psql('fresh',
	'BEGIN; INSERT INTO token_ledger.token_ledger_events'
	  . " (provider, model) VALUES ('p', 'm'); PREPARE TRANSACTION 'held'");
blocked_like('1.2', qr/Locks are held by a prepared transaction/,
	'and so is a prepared transaction');
$node->safe_psql('fresh', "COMMIT PREPARED 'held'");
is( $node->safe_psql('fresh',
		"SELECT extversion FROM pg_extension WHERE extname = 'tokenledger'"),
	'1.3', 'nothing has changed');

# A call with all the parameters of 1.0, by position, from a role that has
# only what grant_writer() gave it at 1.0; and what else 1.0 offers.
my $call = <<'EOC';
SET ROLE writer;
SELECT token_ledger.record('p', 'm', 1, 2, 3, 0.5, 6, '/e', 'chat', 'u', 's',
	'o', 'a', 'env', 'success', NULL, NULL, '{}', 'rq', 'rs', NULL, NULL,
	NULL, gen_random_uuid(), now()) IS NOT NULL;
RESET ROLE;
SELECT count(*) >= 0 FROM token_ledger.status;
SELECT count(*) >= 0 FROM token_ledger.lanes;
SELECT count(*) >= 0 FROM token_ledger.jobs;
SELECT bool_and(difference = 0) IS NOT FALSE FROM token_ledger.accounting;
SELECT count(*) > 0 FROM token_ledger.backends();
SELECT count(*) > 0 FROM token_ledger.backend_options('null');
SELECT token_ledger.wake() IS NOT NULL;
EOC
create_database('old', $old, 'CREATE ROLE writer',
	"SELECT token_ledger.grant_writer('writer')");
foreach my $version (qw(1.0 1.1 1.2 1.3 1.2 1.1 1.0))
{
	$node->safe_psql('old', "$update TO '$version'");
	unlike($node->safe_psql('old', $call),
		qr/^f$/m, "calls of 1.0 at $version");
}
is( $node->safe_psql('old',
		'SELECT count(*) FROM token_ledger.token_ledger_events'),
	'7', 'and each has recorded its event');

done_testing();
