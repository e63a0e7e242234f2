# The server stops, crashes and starts while lanes are at work or wait for a
# store; there are no worker slots left; the library is not preloaded.  Nothing
# is lost or doubled, and status says what is missing.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use HangingStore;
use TokenLedger;

my $PROMPT = 10;	# seconds: half of what a lane would wait for a store

my $hang = HangingStore->new;
my $store = PostgreSQL::Test::Cluster->new('store');
$store->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$store->start;
create_store($store, 'store');

my $node = ledger_node('server', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
tokenledger.timeout = 20s
EOC
my $mirror = 'mirror='
  . store_url($store, 'store', lanes => 2, batch_rows => 25, claim_rows => 50);
my $next = 1;

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next, per_transaction => 10);
	$next += $n;
	return;
}

sub all_arrive
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	forwarded_ok($node, 'app', 'mirror', $store, 'store', name => $what);
	identity_ok($node, 'app');
	return;
}

# What the log says since an offset.
sub log_since
{
	my ($offset) = @_;

	return substr slurp_file($node->logfile), $offset;
}

# Holds attempts up in their COMMIT, when all events have been sent: whoever is
# killed now does not know whether they have landed.
my $gate = $store->background_psql('store');

sub close_gate
{
	$gate->query_safe('SELECT pg_advisory_lock(7)');
	insert_some(300);
	wait_until($store, 'store',
		"SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype ="
		  . " 'advisory' AND objid = 7",
		'2', 'two attempts are held up in their COMMIT');
	return;
}

sub open_gate
{
	$gate->query_safe('SELECT pg_advisory_unlock(7)');
	return;
}

# NB: the server cannot start before the last child has noticed.
sub kill_postmaster
{
	my @pids = split /\n/,
	  $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity');
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	$node->kill9;
	while (grep { kill 0, $_ } @pids)
	{
		BAIL_OUT('processes survive the postmaster') if time > $deadline;
		usleep(10_000);		# sleep-ok: interval of a poll with a deadline
	}
	return;
}

# Shutdown while a store keeps the lanes waiting: one that does not even speak,
# and one that holds an attempt up.
foreach my $mode (qw(fast immediate))
{
	my $blocker;

	set_targets($node, "$mirror hang=postgresql://u\@127.0.0.1:"
		  . $hang->port . '/d');
	insert_some(200);
	caught_up_ok($node, 'app', 'mirror');
	$blocker = $store->background_psql('store');
	$blocker->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
	insert_some(100);
	wait_until($store, 'store',
		'SELECT count(*) FROM pg_locks WHERE NOT granted AND relation ='
		  . " 'token_ledger_events'::regclass",
		qr/[12]/, 'a lane waits for an answer');
	ok($hang->await_connection($PostgreSQL::Test::Utils::timeout_default),
		'and another for a connection');
	my $begun = time;

	$node->stop($mode);
	cmp_ok(time - $begun, '<', $PROMPT, "$mode shutdown is prompt");
	$blocker->query_safe('ROLLBACK;');
	$blocker->quit;
	$node->start;
	all_arrive("mirror after $mode shutdown");
}
set_targets($node, $mirror);

# A lane, and then the postmaster, is killed with an attempt whose outcome is
# unknown and which can still land.
$store->safe_psql('store', <<'EOC');
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(7);
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON token_ledger_events
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate();
EOC
set_targets($node, $mirror);
my $lanes_wait = "SELECT count(*) FROM pg_stat_activity WHERE application_name"
  . " LIKE 'tokenledger mirror/_'";

close_gate();
my ($pid) = lane_pids($node, 'app', 'mirror');
my $offset = -s $node->logfile;
kill 'KILL', $pid;
wait_until($store, 'store', $lanes_wait, '4',
	'the lanes are there again, and so are the attempts of before');
open_gate();
all_arrive('mirror after a lane was killed');
like(
	log_since($offset),
	qr/tokenledger lane" \(PID $pid\) was terminated by signal 9/,
	'it was killed indeed');

close_gate();
kill_postmaster();
$node->start;
wait_until($store, 'store', $lanes_wait, '4',
	'the lanes are there again, and so are the attempts of before');
open_gate();
all_arrive('mirror after the postmaster was killed');

# The launcher, ended by hand, is started again and takes up changes.
my $launcher = "SELECT pid FROM pg_stat_activity"
  . " WHERE backend_type = 'tokenledger launcher'";
my $ended = $node->safe_psql('postgres', $launcher);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($ended)");
wait_until($node, 'postgres', "SELECT ($launcher) <> $ended", 't',
	'the launcher is there again');
$node->safe_psql('app',
	"SELECT pg_terminate_backend(pid) FROM token_ledger.lanes"
	  . ' WHERE pid IS NOT NULL');
insert_some(50);
all_arrive('mirror after its lanes and the launcher were ended');

# The store crashes before it has committed, and stays away for a while.
close_gate();
$store->stop('immediate');
$gate->quit;
insert_some(200);
is( $node->safe_psql('app',
		"SELECT lag_events FROM token_ledger.status WHERE target = 'mirror'"),
	'500', 'events wait while the store is down');
identity_ok($node, 'app', 'the identity holds while the store is down');
$store->start;
all_arrive('mirror after the store has crashed');
$store->safe_psql('store', 'DROP TRIGGER gate ON token_ledger_events');

# No worker slot: the launcher has one, others take the rest.
$node->append_conf('postgresql.conf', <<'EOC');
max_worker_processes = 3
max_parallel_workers = 0
max_logical_replication_workers = 0
EOC
set_targets($node,
	"$mirror more=" . store_url($store, 'store', table => 'more', lanes => 4));
$offset = -s $node->logfile;
$node->restart;
insert_some(50);
wait_until($node, 'app',
	'SELECT DISTINCT problem FROM token_ledger.status',
	qr/^not all lanes can start: increase max_worker_processes/,
	'status says that worker slots are missing');
wait_until($node, 'app',
	'SELECT sum(lanes) BETWEEN 1 AND 2 FROM token_ledger.status',
	't', 'as many lanes run as there are slots');
set_targets($node, $mirror =~ s/lanes=\d/lanes=1/r);
wait_until($node, 'app', 'SELECT problem FROM token_ledger.status'
	  . " WHERE target = 'mirror'",
	'', 'with fewer lanes asked for, nothing is missing');
insert_some(50);
all_arrive('mirror with slots for all lanes');
is(scalar(() = log_since($offset) =~ /cannot start all of its lanes/g),
	1, 'and the log has said so once');

# Not preloaded: everything but forwarding works.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
insert_some(50);
is( $node->safe_psql('app',
		'SELECT DISTINCT problem FROM token_ledger.status'),
	'tokenledger is not in shared_preload_libraries',
	'without preload, status says so');
is( $node->safe_psql('app',
		'SELECT pending FROM token_ledger.status'
		  . " WHERE target = 'mirror'"),
	'50', 'and what waits');
like(
	$node->safe_psql('app',
		"SELECT token_ledger.record('provider', 'model', 1, 2)"),
	qr/^[0-9a-f-]{36}$/, 'record() works');
is( $node->safe_psql('app',
		'SELECT count(*) > 0 FROM token_ledger.token_ledger_daily_costs'),
	't', 'the views work');
my (undef, undef, $error) =
  $node->psql('app', "SELECT token_ledger.flush('mirror', '1 s')");
like($error, qr/not preloaded.*shared_preload_libraries/s,
	'flush() says why it cannot');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries',
	"'tokenledger'");
$node->restart;
all_arrive('mirror after a while without preload');

my $log = slurp_file($node->logfile);

unlike($log, qr/PANIC|TRAP|terminated by signal (?!9\b)/, 'nothing crashed');

done_testing();
