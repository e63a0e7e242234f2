# The store behind PgBouncer in transaction mode: every transaction may meet
# another server session, so a batch may rely on nothing that outlives its own.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" }
  (split(/:/, $ENV{PATH}), '/usr/sbin');
plan skip_all => 'pgbouncer is not installed' unless defined $pgbouncer;

my $user = getpwuid($>);
my $node = ledger_node('bounced', conf => <<'EOC');
tokenledger.batch_rows = 50
tokenledger.claim_rows = 100
tokenledger.flush_interval = 10ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
create_store($node, 'store');

my $dir = PostgreSQL::Test::Utils::tempdir_short;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $bouncer = start_pgbouncer();

set_targets($node,
	"warehouse=postgresql://$user@/store?host=$dir&port=$port&lanes=2");

# Two server sessions for two lanes, and a third client that mixes them up.
insert_events($node, 'app', 2000);
forwarded_ok($node, 'app', 'warehouse', $node, 'store',
	name => 'a backlog arrives through the pooler');
for my $round (1 .. 10)
{
	insert_events($node, 'app', 100, first => 2000 + $round * 100);
	$node->safe_psql('postgres',
		'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
		  . " WHERE datname = 'store'");
}
forwarded_ok($node, 'app', 'warehouse', $node, 'store',
	name => 'and so it does when the pooler loses its sessions');
is( $node->safe_psql(
		'app', 'SELECT guarantee, dead FROM token_ledger.status'),
	'exactly once, per event|0',
	'the guarantee is the table\'s, as without a pooler');
identity_ok($node, 'app', 'the identity holds');

# A batch by way of a temporary table: its events are in the store already.
$node->safe_psql('app', "SELECT token_ledger.pause('warehouse')");
insert_events($node, 'app', 100, first => 5000);
my $dump = $node->safe_psql('app',
	'SELECT event_id, provider, model, "timestamp" FROM'
	  . ' token_ledger.token_ledger_events ORDER BY ingest_xid DESC,'
	  . ' ingest_seq DESC LIMIT 10');
for (split /\n/, $dump)
{
	my ($id, $provider, $model, $time) = split /\|/;

	$node->safe_psql('store',
		'INSERT INTO token_ledger_events (event_id, provider, model,'
		  . qq{ "timestamp") VALUES ('$id', '$provider', '$model', '$time')});
}
$node->safe_psql('app', "SELECT token_ledger.resume('warehouse')");
is( $node->safe_psql('app', "SELECT token_ledger.flush('warehouse', '1 min')"),
	't', 'events that the store has already do not stop the others');
is( $node->safe_psql('store', 'SELECT count(*) FROM token_ledger_events'),
	'3100', 'and are not there twice');

stop_pgbouncer();
$node->stop;
done_testing();

# Also if the test dies.
END { local $?; stop_pgbouncer() }

sub stop_pgbouncer
{
	return unless $bouncer;
	# TERM lets newer ones wait for their clients, and older ones not.
	kill 'KILL', $bouncer;
	waitpid $bouncer, 0;
	undef $bouncer;
	return;
}

sub start_pgbouncer
{
	my $ini = "$dir/pgbouncer.ini";

	PostgreSQL::Test::Utils::append_to_file($ini, <<"EOC");
[databases]
* = host=@{[ $node->host ]} port=@{[ $node->port ]} user=$user
[pgbouncer]
unix_socket_dir = $dir
listen_addr =
listen_port = $port
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
logfile = $dir/log
EOC
	my $pid = fork // die "could not fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>', '/dev/null' or die "no /dev/null: $!";
		open STDERR, '>&', \*STDOUT or die "no standard error: $!";
		exec $pgbouncer, $ini or die "could not run $pgbouncer: $!";
	}
	return $pid;
}
