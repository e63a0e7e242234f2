# ALTER EXTENSION UPDATE from 1.0 to the newest version and back, with lanes
# running and events arriving: every event arrives once, with the columns that
# the store and the ledger have.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('update', databases => [],
	conf => <<'EOC');
tokenledger.databases = 'app'
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
EOC

create_store($node, $_) foreach qw(app store);
$node->safe_psql('app', "CREATE EXTENSION tokenledger VERSION '1.0'");
set_targets($node, 'mirror=' . store_url($node, 'store', lanes => 2,
		batch_rows => 50));

my $next = 1;

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next, per_transaction => 7);
	$next += $n;
	return;
}

# It runs while the versions change.
my $writer = $node->background_psql('app', on_error_stop => 0);
my $writing = <<'EOC';
DO $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		INSERT INTO token_ledger.token_ledger_events
			(provider, model, total_tokens)
		SELECT 'provider', 'model', i FROM generate_series(1, 1 + i % 3);
		COMMIT;
	END LOOP;
END $$;
SELECT 'done' AS writing;
EOC

insert_some(300);
caught_up_ok($node, 'app', 'mirror');

$writer->{stdin} .= $writing . "\n";
$writer->{run}->pump_nb;
wait_until($node, 'app',
	"SELECT count(*) > 0 FROM token_ledger.token_ledger_events"
	  . " WHERE model = 'model'",
	't', 'a writer has begun');
foreach my $version (qw(1.1 1.2 1.3 1.2 1.1 1.0 1.3))
{
	my ($status, undef, $error) = $node->psql('app',
		"ALTER EXTENSION tokenledger UPDATE TO '$version'");

	is($status, 0, "update to $version while events arrive")
	  or diag($error)
	  or diag_ledger($node, 'app');
	insert_some(100);
}
wait_until($node, 'app',
	"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO \$\$%'"
	  . " AND state = 'active' AND pid <> pg_backend_pid()",
	'0', 'the writer has ended');
$writer->quit;
is( $node->safe_psql('app',
		"SELECT count(*) FROM token_ledger.token_ledger_events"
		  . " WHERE model = 'model'"),
	'6000', 'all its events were committed');

forwarded_ok($node, 'app', 'mirror', $node, 'store');
identity_ok($node, 'app');

# A version that was added comes along with the next event.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events
	(event_id, provider, model, cached_tokens, team, metadata_extra)
VALUES ('00000000-0000-0000-0000-000000000001', 'provider', 'new', 7, 'red',
	'{"a": 1}');
EOC
caught_up_ok($node, 'app', 'mirror');
is( $node->safe_psql('store',
		"SELECT cached_tokens, team, metadata_extra FROM token_ledger_events"
		  . " WHERE model = 'new'"),
	'7|red|{"a": 1}', 'columns of the new version are forwarded');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
