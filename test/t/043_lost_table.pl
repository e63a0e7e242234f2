# A table that vanishes after events were acknowledged is not silently made
# again: the target says what has happened, and goes on when somebody has
# decided.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('losttable', conf => <<'EOC');
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
create_store($node, 'warehouse');
set_targets($node, 'warehouse=' . store_url($node, 'warehouse'));

insert_events($node, 'app', 20);
forwarded_ok($node, 'app', 'warehouse', $node, 'warehouse',
	name => 'the lane makes the table of a new target');

$node->safe_psql('warehouse', 'DROP TABLE token_ledger_events');
insert_events($node, 'app', 20, first => 21);
wait_until(
	$node, 'app',
	"SELECT state, cause, last_error FROM token_ledger.status",
	qr/^error\|schema\|the store has lost acknowledged events/,
	'status says that acknowledged events are lost');
is( $node->safe_psql(
		'warehouse', "SELECT to_regclass('token_ledger_events') IS NULL"),
	't', 'the table is not made again');
identity_ok($node, 'app', 'the identity holds');

is( $node->safe_psql(
		'app', "SELECT token_ledger.create_schema('warehouse')"),
	'103', 'create_schema() makes an empty one');
wait_until(
	$node, 'app',
	'SELECT state, pending, last_error FROM token_ledger.status',
	qr/^error\|0\|the store has lost acknowledged events: it does not hold/,
	'which lacks what was acknowledged as well');
$node->safe_psql('app',
	"SELECT token_ledger.reconcile('warehouse', NULL, NULL, requeue => true)");
forwarded_ok($node, 'app', 'warehouse', $node, 'warehouse',
	name => 'reconciled, it has everything');
wait_until($node, 'app', 'SELECT state, pending FROM token_ledger.status',
	'running|0', 'the target goes on by itself');
identity_ok($node, 'app', 'the identity still holds');

$node->stop;
done_testing();
