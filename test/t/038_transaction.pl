# DROP and ALTER EXTENSION in a transaction block: the lanes stay away until
# its end, whatever that is, and then go on.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('transaction', databases => [],
	conf => <<'EOC');
tokenledger.databases = 'app, other'
tokenledger.poll_interval = 200ms
EOC

create_store($node, $_) foreach qw(app other store);
$node->safe_psql($_, "CREATE EXTENSION tokenledger VERSION '1.2'")
  foreach qw(app other);
set_targets($node, 'app/mirror=' . store_url($node, 'store', lanes => 2)
	  . ' other/elsewhere='
	  . store_url($node, 'store', table => 'elsewhere'));

my $next = 1;

sub goes_on_ok
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	insert_events($node, 'app', 10, first => $next);
	$next += 10;
	return forwarded_ok($node, 'app', 'mirror', $node, 'store',
		name => "$what, they go on");
}

# A lane of the other database that is ended comes back: the launcher has then
# started whatever it may.
sub launcher_has_looked
{
	my ($pid) = lane_pids($node, 'other', 'elsewhere');

	$node->safe_psql('other', "SELECT pg_terminate_backend($pid)");
	wait_until(
		$node,
		'other',
		'SELECT pid FROM token_ledger.lanes'
		  . " WHERE target = 'elsewhere' AND pid <> $pid",
		qr/^\d+$/,
		'the launcher has looked');
	return;
}

sub lanes_away_ok
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	launcher_has_looked();
	is( $node->safe_psql('postgres',
			"SELECT count(*) FROM pg_stat_activity WHERE datname = 'app'"
			  . " AND backend_type = 'tokenledger lane'"),
		'0', $what);
	return;
}

goes_on_ok('at first');
wait_until($node, 'other',
	"SELECT count(pid) FROM token_ledger.lanes WHERE target = 'elsewhere'",
	'1', 'a lane runs in the other database');

my $session = $node->background_psql('app', on_error_stop => 0);

$session->query_safe('BEGIN');
$session->query_safe('DROP EXTENSION tokenledger');
lanes_away_ok('no lane comes back while it is not decided');
$session->query_safe('ROLLBACK');
goes_on_ok('DROP EXTENSION rolled back');

$session->query_safe('BEGIN');
$session->query_safe("ALTER EXTENSION tokenledger UPDATE TO '1.3'");
$session->query_safe('DO $$ BEGIN ALTER EXTENSION tokenledger UPDATE TO none;'
	  . ' EXCEPTION WHEN OTHERS THEN NULL; END $$');
lanes_away_ok('nor after an error that was caught');
$session->query_safe('COMMIT');
goes_on_ok('ALTER EXTENSION committed');

$session->query_safe('BEGIN');
$session->query_safe("ALTER EXTENSION tokenledger UPDATE TO '1.2'");
lanes_away_ok('nor while the session is there');
$session->{stdin} .= "\\q\n";
$session->{run}->finish;
goes_on_ok('the session ended');

identity_ok($node, 'app');
is($node->safe_psql('app',
		"SELECT extversion FROM pg_extension WHERE extname = 'tokenledger'"),
	'1.3', 'and what was committed is');

done_testing();
