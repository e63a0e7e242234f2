# Backend kafka when things go wrong, with a real broker: the broker is killed
# under load and comes back, lanes are killed in the middle of batches, the broker
# is away from the start, and somebody else takes a lane's transactional id.  Nothing
# is lost, what is there twice has the same key, and with transactions nothing that
# was committed is there twice.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaPeer;
use TokenLedger;

plan skip_all => kafka_hindrance() if kafka_hindrance();

my $EVENTS = 4000;
my $broker = KafkaPeer->new;
my $node = ledger_node('kafka_faults', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
tokenledger.timeout = 5s
EOC
my $next = 1;
my $targets = join ' ',
  'whole=' . $broker->url('whole', lanes => 2,
	batch_rows => 100),
  'plain=' . $broker->url('plain', batch_rows => 100),
  'exact=' . $broker->url('exact', transactional => 'on', batch_rows => 100);

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next, per_transaction => 100);
	$next += $n;
	return;
}

sub forwarded
{
	return $node->safe_psql('app',
		'SELECT min(forwarded) FROM token_ledger.status');
}

# Events are inserted, and some of them have arrived everywhere.
sub load
{
	my ($what) = @_;
	my $before = forwarded();

	insert_some($EVENTS);
	return ok($broker->await(180, sub { forwarded() > $before }),
		"$what: events arrive");
}

sub all_there
{
	my ($what) = @_;

	kafka_forwarded_ok($node, 'app', $_, $broker,
		at_least_once => 1,
		name => "$what: $_ lacks none, and none is there under two keys")
	  foreach qw(whole plain);
	kafka_forwarded_ok($node, 'app', 'exact', $broker,
		name => "$what: exact holds each event once");
	identity_ok($node, 'app', "$what: the identity holds");
	return;
}

# A broker that is not there yet.
insert_some(200);
$broker->kill9;
set_targets($node, $targets);
wait_until($node, 'app',
	"SELECT DISTINCT state, cause FROM token_ledger.status",
	'error|network', 'a broker that is away is an error of the network');
$broker->start;
all_there('a broker that came late');

# It is killed while events are on their way.
foreach my $round (1 .. 2)
{
	load("round $round");
	$broker->kill9;
	insert_some(500);
	$broker->start;
}
all_there('a broker that was killed');

# Lanes are: the server goes down with them and comes back.
foreach my $round (1 .. 4)
{
	load("round $round");
	my ($pid) = lane_pids($node, 'app', $round % 2 ? 'exact' : 'whole');
	kill 'KILL', $pid if $pid;
	wait_until($node, 'postgres', 'SELECT 1', '1',
		"round $round: the server is back");
}
all_there('lanes that were killed');

# And without a crash, told to end.
foreach my $round (1 .. 5)
{
	load("round $round");
	$node->safe_psql('app', 'SELECT pg_terminate_backend(pid)'
		  . ' FROM token_ledger.lanes WHERE pid IS NOT NULL');
}
all_there('lanes that were told to end');

# Somebody else initializes the lane's transactional id in the midst of a batch:
# what the lane has not committed by then it cannot commit any more.
my $ledger = $node->safe_psql('app',
	'SELECT ledger_id FROM token_ledger.instance');

foreach my $round (1 .. 3)
{
	load("round $round");
	$broker->fence('exact', "tokenledger-$ledger-exact-0");
}
all_there('lanes that were fenced');
is( scalar(
		grep { ($_->{headers} // '') !~ /tokenledger-batch/ }
		  $broker->messages('exact')),
	0, 'what the other one sent was not committed');

# A lane that ends while the broker hangs does not wait for it.
$broker->signal('STOP');
insert_some(100);
my @pids = lane_pids($node, 'app', 'whole');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', 'DROP DATABASE other');
set_targets($node, '');
ok($broker->await(15, sub { !grep { kill 0, $_ } @pids }),
	'lanes end while the broker hangs');
$broker->signal('CONT');
set_targets($node, $targets);
all_there('a broker that hung');

done_testing();
