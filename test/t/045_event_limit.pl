# max_event_bytes is lowered while a batch is on its way: an event that has
# landed is not set aside because it would now be too large.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('limit', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC

create_store($node, 'store');
set_targets($node, 'mirror=' . store_url($node, 'store'));
insert_events($node, 'app', 10);
forwarded_ok($node, 'app', 'mirror', $node, 'store', name => 'at first');

# The batch reaches the store, which makes it wait; when it lands, the lane
# cannot settle it.
my $in_store = $node->background_psql('store');
my $in_ledger = $node->background_psql('app');

$in_store->query_safe('BEGIN');
$in_store->query_safe('LOCK TABLE token_ledger_events IN EXCLUSIVE MODE');
insert_events($node, 'app', 2, first => 11,
	set => { request_preview => "repeat(md5(i::text), 4000)" });
wait_until($node, 'store',
	'SELECT count(*) FROM pg_locks WHERE NOT granted'
	  . " AND relation = 'token_ledger_events'::regclass",
	'1', 'the batch is on its way');
$in_ledger->query_safe('BEGIN');
$in_ledger->query_safe('SELECT lane FROM token_ledger.lane FOR UPDATE');
$in_store->query_safe('COMMIT');
wait_until($node, 'store',
	'SELECT count(*) FROM token_ledger_events', '12', 'the batch has landed');

my ($pid) = lane_pids($node, 'app', 'mirror');

set_targets($node,
	'mirror=' . store_url($node, 'store', max_event_bytes => '64kB'));
wait_until($node, 'app',
	"SELECT count(*) FROM pg_stat_activity WHERE pid = $pid",
	'0', 'the lane has left without knowing');
$in_ledger->query_safe('COMMIT');
forwarded_ok($node, 'app', 'mirror', $node, 'store',
	name => 'its successor settles the batch');
is($node->safe_psql('app', 'SELECT reason FROM token_ledger.dead_letter'),
	'', 'and sets nothing aside');
identity_ok($node, 'app');

# Later events are judged by the new limit.
insert_events($node, 'app', 1, first => 13,
	set => { request_preview => "repeat(md5(i::text), 4000)" });
caught_up_ok($node, 'app', 'mirror');
like($node->safe_psql('app', 'SELECT reason FROM token_ledger.dead_letter'),
	qr/max_event_bytes \(65536\)/, 'an event of a later batch is too large');
identity_ok($node, 'app');

$_->quit foreach $in_store, $in_ledger;
done_testing();
