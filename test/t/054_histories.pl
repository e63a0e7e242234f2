# Histories of a cluster: a dump restored into clusters whose transaction ids
# are lower and higher, pg_upgrade, a restore to an earlier point in time, a
# promotion that is a clone's, and a copied directory.  Stores without a unique
# index, so that nothing hides a double.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $conf = <<'EOC';
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.cluster_id = 'original'
EOC
my $dir = PostgreSQL::Test::Utils::tempdir;
my $store = PostgreSQL::Test::Cluster->new('store');

$store->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$store->start;
create_store($store, 'store');

sub stored_is
{
	my ($expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		$store->safe_psql('store',
			'SELECT count(*), count(DISTINCT event_id)'
			  . ' FROM token_ledger_events'),
		"$expected|$expected", $what);
}

sub state_is
{
	my ($server, $expected, $what, $columns) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($server, 'app',
		'SELECT ' . ($columns // 'state') . ' FROM token_ledger.status',
		$expected, $what);
}

# What is inserted waits, and nothing is sent.
sub suspended_ok
{
	my ($server, $cause, $first, $what) = @_;
	my $before = $store->safe_psql('store',
		'SELECT count(*) FROM token_ledger_events');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	state_is($server, "suspended|$cause", "$what is suspended",
		"state, coalesce(cause, '-')");
	insert_events($server, 'app', 10, first => $first);
	state_is($server, qr/^[1-9]/, "$what: its events wait", 'pending');
	stored_is($before, "$what: nothing is sent");
	return;
}

# A new cluster, whose next transaction is this one.
sub cluster_at_xid
{
	my ($name, $xid) = @_;
	my $server = ledger_node($name, start => 0, conf => $conf);

	system_or_bail('pg_resetwal', '-x', $xid, '-D', $server->data_dir)
	  if defined $xid;
	$server->start;
	create_store($server, 'app');
	set_targets($server, 'mirror=' . store_url($store, 'store'));
	return $server;
}

sub dump_and_restore
{
	my ($from, $to) = @_;
	my $file = "$dir/" . $from->name . '-' . $to->name;

	system_or_bail('pg_dump', '--file', $file, '-d', $from->connstr('app'));
	command_ok(
		[
			'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d',
			$to->connstr('app')
		],
		'restored into ' . $to->name);
	return;
}

my $node = ledger_node('original', archiving => 1, streaming => 1,
	conf => $conf);

set_targets($node, 'mirror=' . store_url($store, 'store'));
insert_events($node, 'app', 100, per_transaction => 5);
forwarded_ok($node, 'app', 'mirror', $store, 'store');
$store->safe_psql('store',
	'ALTER TABLE token_ledger_events DROP CONSTRAINT token_ledger_events_pkey;'
	  . ' SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE application_name LIKE 'tokenledger %'");
insert_events($node, 'app', 50, first => 101);
forwarded_ok($node, 'app', 'mirror', $store, 'store');

# Transaction ids of the copy are higher, and then lower: no position in the
# queue that the dump holds says anything.  NB: the first of a page of pg_xact.
my $higher = cluster_at_xid('higher', 32768 * 20);

dump_and_restore($node, $higher);
suspended_ok($higher, '-', 201, 'a dump in a cluster of higher ids');
$higher->safe_psql('app', "SELECT token_ledger.adopt('mirror')");
caught_up_ok($higher, 'app', 'mirror');
stored_is(160, 'adopted, it sends what the store lacks');
identity_ok($higher, 'app');

my $lower = cluster_at_xid('lower');

dump_and_restore($higher, $lower);
suspended_ok($lower, '-', 211, 'a dump in a cluster of lower ids');
my ($result, undef, $error) = $lower->psql('app',
	"SELECT token_ledger.adopt('mirror', 'continue')");

like($error, qr/has no place to continue from/,
	'which cannot go on where the original was');
$lower->safe_psql('app', "SELECT token_ledger.adopt('mirror')");
caught_up_ok($lower, 'app', 'mirror');
stored_is(170, 'adopted, it sends what the store lacks');
insert_events($lower, 'app', 10, first => 221);
caught_up_ok($lower, 'app', 'mirror');
stored_is(180, 'and what comes');
identity_ok($lower, 'app');
$_->stop foreach $higher, $lower;

# A copy of the directory, started beside the original: only what is kept
# outside of it tells.
$node->backup('backup');
my $clone = PostgreSQL::Test::Cluster->new('clone');

$clone->init_from_backup($node, 'backup');
$clone->append_conf('postgresql.conf', "tokenledger.cluster_id = 'clone'");
$clone->start;
suspended_ok($clone, 'clone', 301, 'a copied directory');
$clone->restart;
state_is($clone, 'suspended', 'also after another start');
$clone->safe_psql('app', "SELECT token_ledger.adopt('mirror', 'continue')");
caught_up_ok($clone, 'app', 'mirror');
stored_is(190, 'it may go on where the original was');
identity_ok($clone, 'app');
$clone->stop;

# A promotion, where that makes clones.
my $standby = PostgreSQL::Test::Cluster->new('standby');

$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf',
	"tokenledger.after_promotion = suspend\narchive_mode = off");
$standby->start;
$node->wait_for_catchup($standby);
$standby->promote;
suspended_ok($standby, 'promotion', 401, 'a promoted clone');
insert_events($node, 'app', 10, first => 501);
caught_up_ok($node, 'app', 'mirror', name => 'the original goes on');
stored_is(200, 'as before');
$standby->safe_psql('app', "SELECT token_ledger.adopt('mirror', 'continue')");
caught_up_ok($standby, 'app', 'mirror');
stored_is(210, 'the clone may go on, too');
identity_ok($standby, 'app');
$standby->stop;

# A restore to an earlier point in time.  The store has what came later; the
# ledger has it no more.
my $point = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');

insert_events($node, 'app', 30, first => 601, per_transaction => 10);
caught_up_ok($node, 'app', 'mirror');
stored_is(240, 'events that will be forgotten are in the store');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop;

my $earlier = PostgreSQL::Test::Cluster->new('earlier');

$earlier->init_from_backup($node, 'backup', has_restoring => 1);
$earlier->append_conf('postgresql.conf', <<EOC);
recovery_target_lsn = '$point'
recovery_target_timeline = 'current'
recovery_target_action = 'promote'
EOC
$earlier->start;
wait_until($earlier, 'app', 'SELECT pg_is_in_recovery()',
	'f', 'restored to a point in time');
caught_up_ok($earlier, 'app', 'mirror', name => 'it goes on by itself');
stored_is(240, 'what the store has is not doubled');
is( $earlier->safe_psql('app',
		'SELECT count(*) FROM token_ledger.token_ledger_events'),
	'160', 'the ledger has forgotten the last ones');
insert_events($earlier, 'app', 30, first => 701, per_transaction => 10);
caught_up_ok($earlier, 'app', 'mirror');
stored_is(270, 'what comes arrives');
insert_events($earlier, 'app', 30, first => 601, per_transaction => 10);
caught_up_ok($earlier, 'app', 'mirror');
is( $store->safe_psql('store',
		'SELECT count(DISTINCT event_id) FROM token_ledger_events'),
	'270', 'also what an application repeats');
identity_ok($earlier, 'app');

# pg_upgrade: no copy, though the new cluster is another one.
my $upgraded = ledger_node('upgraded', start => 0, conf => $conf);
my ($bin) = run_command([ $ENV{PG_CONFIG} // 'pg_config', '--bindir' ]);

insert_events($earlier, 'app', 40, first => 801);
caught_up_ok($earlier, 'app', 'mirror');
my $all = $store->safe_psql('store',
	'SELECT count(*) FROM token_ledger_events');
$earlier->safe_psql('app', "SELECT token_ledger.pause('mirror')");
insert_events($earlier, 'app', 20, first => 901);
$earlier->stop;
chdir $dir or die "chdir: $!";
command_ok(
	[
		'pg_upgrade', '--no-sync', '-d', $earlier->data_dir,
		'-D', $upgraded->data_dir, '-b', $bin, '-B', $bin,
		'-s', $upgraded->host, '-p', $earlier->port, '-P', $upgraded->port
	],
	'pg_upgrade');
set_up_targets($upgraded);
$upgraded->start;
state_is($upgraded, 'paused', 'what was paused still is');
$upgraded->safe_psql('app', "SELECT token_ledger.resume('mirror')");
caught_up_ok($upgraded, 'app', 'mirror', name => 'it goes on by itself');
is( $store->safe_psql('store', 'SELECT count(*) FROM token_ledger_events'),
	$all + 20, 'where it was');
state_is($upgraded, 'running', 'and is no copy');
identity_ok($upgraded, 'app');

sub set_up_targets
{
	my ($server) = @_;

	$server->append_conf('postgresql.conf',
		"tokenledger.targets = 'mirror=" . store_url($store, 'store') . "'");
	return;
}

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed on ' . $_->name)
  foreach $node, $higher, $lower, $clone, $standby, $earlier, $upgraded;
done_testing();
