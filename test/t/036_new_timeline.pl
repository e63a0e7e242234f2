# A promotion may lose what the old primary had settled last, and the store
# holds what it had sent.  Three kinds of events are easily forgotten then: one
# that the lane's row holds back after a refusal, outside of any range; one of a
# prepared transaction, which is not visible yet when the new timeline begins;
# and one that the ledger has lost, and that its application inserts again.  All
# may have arrived; a store without a unique index is asked.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $store = PostgreSQL::Test::Cluster->new('store');
$store->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$store->start;
create_store($store, 'bare');

my $primary = ledger_node('primary', streaming => 1, conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $held = q{SELECT cardinality(held) FROM token_ledger.lane};

sub stored
{
	return $store->safe_psql('bare',
		'SELECT count(*), count(DISTINCT event_id) FROM token_ledger_events');
}

set_targets($primary, 'bare=' . store_url($store, 'bare'));
wait_until($store, 'bare',
	"SELECT to_regclass('token_ledger_events') IS NOT NULL",
	't', 'the table is made');
$store->safe_psql('bare',
	'ALTER TABLE token_ledger_events DROP CONSTRAINT token_ledger_events_pkey');
$store->safe_psql('bare',
	'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE application_name LIKE 'tokenledger %'");
insert_events($primary, 'app', 20);
forwarded_ok($primary, 'app', 'bare', $store, 'bare');

# Event 21 is refused alone, event 22 is prepared.
$store->safe_psql('bare',
	'ALTER TABLE token_ledger_events'
	  . " ADD CONSTRAINT odd CHECK (model <> 'odd') NOT VALID");
insert_events($primary, 'app', 1, first => 21, set => { model => "'odd'" });
wait_until($primary, 'app', $held, '1', 'an event is held back');
$primary->safe_psql('app', <<'EOC');
BEGIN;
INSERT INTO token_ledger.token_ledger_events (event_id, timestamp, provider, model)
VALUES (md5('event 22')::uuid, '2026-01-01 00:00Z', 'local', 'prepared');
PREPARE TRANSACTION 'event 22';
EOC

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
$standby->stop;

# The standby does not hear of the rest.
$store->safe_psql('bare', 'ALTER TABLE token_ledger_events DROP CONSTRAINT odd');
$primary->safe_psql('app', "COMMIT PREPARED 'event 22'");
forwarded_ok($primary, 'app', 'bare', $store, 'bare',
	name => 'the old primary has sent both');
insert_events($primary, 'app', 1, first => 30);
forwarded_ok($primary, 'app', 'bare', $store, 'bare',
	name => 'and one that the standby will never know');
wait_until($primary, 'app', "SELECT coalesce(($held), 0)",
	'0', 'and holds nothing back');
$primary->stop('immediate');

$standby->start;
$standby->promote;
wait_until($standby, 'app', "SELECT coalesce(($held), 0)",
	'0', 'what was held back is settled on the new timeline');
is(stored(), '23|23', 'it is not doubled');

insert_events($standby, 'app', 1, first => 23);
caught_up_ok($standby, 'app', 'bare');
insert_events($standby, 'app', 1, first => 24);
caught_up_ok($standby, 'app', 'bare');
$standby->safe_psql('app', "COMMIT PREPARED 'event 22'");
caught_up_ok($standby, 'app', 'bare');
is(stored(), '25|25', 'nor is what the new timeline commits a second time');
insert_events($standby, 'app', 1, first => 30);
forwarded_ok($standby, 'app', 'bare', $store, 'bare',
	name => 'nor what is inserted again');
is(stored(), '25|25', 'every event is there once');
identity_ok($standby, 'app');

done_testing();
