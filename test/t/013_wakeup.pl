# Commits wake the lanes: with an hour between two looks, whatever arrives was
# announced.  Two databases in one server, each with its own ledger and target.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('wakeup',
	databases => [ 'app', 'other' ],
	conf => 'tokenledger.poll_interval = 1h');
my $ledger = 'token_ledger.token_ledger_events';
my $store = 'public.token_ledger_events';
my %expected = (one => 0, two => 0);

create_store($node, $_) foreach 'one', 'two';
set_targets($node,
		'app/mirror=' . store_url($node, 'one') . ' other/mirror='
	  . store_url($node, 'two', lanes => 2));
wait_until($node, 'app', 'SELECT target, state, lanes FROM token_ledger.status',
	'mirror|running|1', 'a lane of the first database');
wait_until($node, 'other',
	'SELECT target, state, lanes FROM token_ledger.status',
	'mirror|running|2', 'lanes of the second');
is( $node->safe_psql('app', 'SHOW tokenledger.poll_interval'),
	'1h', 'nobody looks for an hour');

# NB: flush() would wake the lanes.
sub arrives
{
	my ($what, $sql, $n, %params) = @_;
	my $database = $params{database} // 'app';
	my $to = $database eq 'app' ? 'one' : 'two';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql($database, $sql);
	$expected{$to} += $n;
	return wait_until($node, $to, "SELECT count(*) FROM $store",
		$expected{$to}, $what, timeout => 60);
}

my $insert = "INSERT INTO $ledger (provider, model) VALUES ('p', 'm')";
my $file = PostgreSQL::Test::Utils::tempdir . '/rows';

append_to_file($file, "p\tm\n" x 20);
arrives('an insert', $insert, 1);
arrives('an insert of many rows',
	"INSERT INTO $ledger (provider, model)"
	  . " SELECT 'p', 'm' FROM generate_series(1, 30000)", 30000);
arrives('COPY', "\\copy $ledger (provider, model) FROM '$file'", 20);
arrives('record()', "SELECT token_ledger.record('p', 'm')", 1);
arrives('a transaction of several statements',
	"BEGIN; $insert; $insert; SELECT 1; COMMIT", 2);
arrives('a savepoint that is rolled back, and one that is not',
	"BEGIN; SAVEPOINT a; $insert; ROLLBACK TO a; SAVEPOINT b; $insert;"
	  . ' RELEASE b; COMMIT', 1);
arrives('the inner commits of a procedure',
	"DO \$\$ BEGIN FOR i IN 1 .. 5 LOOP $insert; COMMIT; END LOOP; END \$\$",
	5);
arrives('a data-modifying WITH',
	"WITH i AS ($insert RETURNING event_id) SELECT count(*) FROM i", 1);
arrives('an insert while other triggers are off',
	"SET session_replication_role = replica; $insert", 1);
arrives('an insert with a conflict',
	"INSERT INTO $ledger (event_id, provider, model)"
	  . " VALUES (md5('a')::uuid, 'p', 'm'), (md5('a')::uuid, 'p', 'm')"
	  . ' ON CONFLICT DO NOTHING', 1);

$node->safe_psql('app', "BEGIN; $insert; PREPARE TRANSACTION 'ledger'");
arrives('commits while one is prepared', $insert, 1);
is( $node->safe_psql('app', 'SELECT lag_events FROM token_ledger.status'),
	'0', 'what is prepared is not pending');
arrives('COMMIT PREPARED', "COMMIT PREPARED 'ledger'", 1);

# A commit while the lane is at work, or about to sleep, is not passed over.
foreach my $round (1 .. 10)
{
	arrives("round $round", "$insert;\n" x (1 + $round % 3), 1 + $round % 3);
}

# Requests wake the lanes as well.
$node->safe_psql('app', "SELECT token_ledger.pause('mirror')");
$node->safe_psql('app', $insert);
is( $node->safe_psql('app', 'SELECT state, pending FROM token_ledger.status'),
	'paused|1', 'paused');
arrives('resume()', "SELECT token_ledger.resume('mirror')", 1);
$node->safe_psql('app', "SELECT token_ledger.pause('mirror')");
$node->safe_psql('app', $insert);
arrives('resume(), prepared',
	"BEGIN; SELECT token_ledger.resume('mirror');"
	  . " PREPARE TRANSACTION 'resume'; COMMIT PREPARED 'resume'", 1);

# The other database has seen nothing of it, and has lanes of its own.
is( $node->safe_psql('two', "SELECT count(*) FROM $store"),
	'0', 'nothing has gone astray');
arrives('the other database', $insert, 1, database => 'other');
arrives('and many rows there',
	"INSERT INTO $ledger (provider, model)"
	  . " SELECT 'p', 'm' FROM generate_series(1, 30000)", 30000,
	database => 'other');
forwarded_ok($node, 'app', 'mirror', $node, 'one');
forwarded_ok($node, 'other', 'mirror', $node, 'two');
identity_ok($node, $_) foreach 'app', 'other';
is($node->safe_psql($_, 'SELECT count(*) FROM token_ledger.target'),
	'1', "$_ has its own row") foreach 'app', 'other';
isnt(
	$node->safe_psql('app', 'SELECT ledger_id FROM token_ledger.instance'),
	$node->safe_psql('other', 'SELECT ledger_id FROM token_ledger.instance'),
	'and is a ledger of its own');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');
done_testing();
