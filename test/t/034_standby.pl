# A standby forwards nothing until it is promoted, and then goes on where the
# primary was: what the primary had sent without having settled is looked up,
# so that nothing is lost and nothing doubled, with and without a unique index
# in the store.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $store = PostgreSQL::Test::Cluster->new('store');
$store->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$store->start;
create_store($store, $_) foreach qw(indexed bare);

my $primary = ledger_node('primary', streaming => 1, conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
EOC
my $targets = join ' ',
  map { "$_=" . store_url($store, $_, batch_rows => 20, claim_rows => 60) }
  qw(indexed bare);
my $next = 1;
my $node = $primary;

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
	forwarded_ok($node, 'app', $_, $store, $_, name => "$_ $what")
	  foreach qw(indexed bare);
	identity_ok($node, 'app');
	return;
}

sub lanes_of
{
	my ($server) = @_;

	return $server->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity"
		  . " WHERE backend_type LIKE 'tokenledger%'");
}

# A table without the index: there the store's table cannot keep an event from
# being doubled.
set_targets($primary, $targets);
wait_until($store, 'bare',
	"SELECT to_regclass('token_ledger_events') IS NOT NULL",
	't', 'the table is made');
$store->safe_psql('bare',
	'ALTER TABLE token_ledger_events DROP CONSTRAINT token_ledger_events_pkey');
$store->safe_psql('bare',
	'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE application_name LIKE 'tokenledger %'");
insert_some(200);
all_arrive('before the standby');
my $guarantees = 'SELECT target, guarantee FROM token_ledger.status ORDER BY 1';
wait_until($primary, 'app', $guarantees,
	"bare|exactly once, by asking the store\nindexed|exactly once, per event",
	'status tells the stores apart');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

insert_some(500);
all_arrive('with a standby');
$primary->wait_for_catchup($standby);
is(lanes_of($standby), '0', 'nothing runs on the standby');
is( $standby->safe_psql('app',
		"SELECT state, lag_events FROM token_ledger.status"
		  . " WHERE target = 'bare'"),
	'running|0', 'status can be read on the standby');

# The primary sends, but the standby does not hear of it any more.
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres',
	"SELECT pg_get_wal_replay_pause_state() = 'paused'");
my $gate = $store->background_psql('bare');
$gate->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
insert_some(300);
wait_until($primary, 'app',
	"SELECT in_flight > 0 FROM token_ledger.status WHERE target = 'bare'",
	't', 'a range is claimed');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$primary->wait_for_catchup($standby);
$standby->stop;
$gate->query_safe('COMMIT;');
$gate->quit;
all_arrive('on the old primary');
is( $primary->safe_psql('app',
		'SELECT min(forwarded), max(forwarded) FROM token_ledger.status'),
	'1000|1000', 'the old primary has sent everything');
$primary->stop('immediate');

# Its settlements are lost, and its events are not.
$standby->start;
$standby->promote;
$node = $standby;
insert_some(300);
all_arrive('after the promotion');
is( $node->safe_psql('app',
		'SELECT sum(resolves) > 0 FROM token_ledger.lanes'
		  . " WHERE target = 'bare'"),
	't', 'the store without the index was asked what it holds');

insert_some(100);
$node->stop('immediate');
$node->start;
insert_some(100);
all_arrive('on the new timeline');
unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed on ' . $_->name)
  foreach $primary, $standby;

done_testing();
