# A table that is being made is not filled before it has all its columns, unless a
# step of making it fails over and over.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('unfinished', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $events = 20;

# Makes a store which refuses the column of version 1.1 so many times.
sub refusing_store
{
	my ($database, $times) = @_;

	create_store($node, $database);
	$node->safe_psql($database, <<EOC);
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS \$\$
BEGIN
	IF current_query() ~ 'cached_tokens' AND nextval('public.refusals') <= $times THEN
		RAISE 'no column today';
	END IF;
END
\$\$;
CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('ALTER TABLE')
	EXECUTE FUNCTION refuse();
EOC
	return;
}

sub target_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

insert_events($node, 'app', $events, set => { cached_tokens => 'i' });
refusing_store(slow => 3);
refusing_store(stubborn => 1_000_000);
set_targets(
	$node,
	join ' ',
	map { "app/$_=" . store_url($node, $_, start => 'beginning', lanes => 2) }
	  qw(slow stubborn));

target_is('slow', 'remote_version, forwarded', "103|$events",
	'a table whose step has failed is made all the same');
is( join("\n",
		forwarding_differences($node, 'app', $node, 'slow')),
	'', 'and nothing was sent to it before it had all its columns');
cmp_ok($node->safe_psql('slow', 'SELECT last_value FROM refusals'),
	'>', 3, 'although it had been there without');

target_is('stubborn', 'remote_version, forwarded, left_out IS NULL',
	"100|$events|f", 'a table whose step never succeeds is filled as it is');
like(
	$node->safe_psql('app',
		"SELECT state, attempts >= 5, error FROM token_ledger.jobs"
		  . " WHERE target = 'stubborn'"),
	qr/^\w+\|t\|.*no column today/s,
	'after some attempts, and the job says why');
done_testing();
