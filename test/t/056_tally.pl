# The tally knows how many events the ledger holds without counting them,
# whatever is committed late, rolled back, deleted or killed.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('tally', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
EOC
my $ledger = $TokenLedger::EVENTS;
my $counted = 'SELECT coalesce(sum(counted), 0) FROM token_ledger.tally';

sub exact_ok
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( psql_output($node, 'app',
			'SELECT token_ledger.ledger_events() - count(*)'
			  . " FROM ONLY $ledger"),
		'0', $what);
	return identity_ok($node, 'app', "$what: the identity");
}

sub edit
{
	my ($command) = @_;

	$node->safe_psql('app', 'BEGIN; SET LOCAL'
		  . " tokenledger.allow_ledger_edits = on; $command; COMMIT");
	return;
}

exact_ok('an empty ledger');
insert_events($node, 'app', 500);
edit("DELETE FROM $ledger WHERE input_tokens % 7 = 0");
set_targets($node, 'a=tokenledger+null://?lanes=2');
caught_up_ok($node, 'app', 'a');
exact_ok('few events');
is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.tally'),
	'0', 'are left to whoever asks');

# Open while the others are counted: one commits late, one is rolled back,
# one is prepared.
my $late = $node->background_psql('app');
my $lost = $node->background_psql('app');
my $insert = "INSERT INTO $ledger (provider, model)"
  . " SELECT 'late', 'm' FROM generate_series(1, 100)";

$late->query_safe("BEGIN; $insert;");
$lost->query_safe("BEGIN; $insert;");
$node->safe_psql('app', "BEGIN; $insert; PREPARE TRANSACTION 'late'");
insert_events($node, 'app', 30000, first => 1001, per_transaction => 1000);
wait_until($node, 'app', "SELECT ($counted) > 20000", 't',
	'many are counted');
exact_ok('transactions are open');
$late->query_safe('COMMIT;');
exact_ok('one has committed late');
$lost->query_safe('ROLLBACK;');
exact_ok('one was rolled back');
$node->safe_psql('app', "COMMIT PREPARED 'late'");
exact_ok('one was prepared');
$_->quit foreach $late, $lost;

# What is deleted had been counted, or not yet, or is both.
edit("DELETE FROM $ledger WHERE input_tokens % 5 = 0");
exact_ok('events that were counted are deleted');
insert_events($node, 'app', 300, first => 50001);
edit("DELETE FROM $ledger WHERE provider = 'late' OR input_tokens % 11 = 0");
exact_ok('and others that were not');
edit("INSERT INTO $ledger (provider, model) VALUES ('own', 'm');"
	  . " DELETE FROM $ledger WHERE provider = 'own'");
exact_ok('and one of the same transaction');

# A deletion that is under way does not hold up a lane.
my $open = $node->background_psql('app');

insert_events($node, 'app', 5, first => 60001);
$open->query_safe('BEGIN; SET LOCAL tokenledger.allow_ledger_edits = on;'
	  . " DELETE FROM $ledger WHERE event_id = md5('event 60002')::uuid;");
insert_events($node, 'app', 15000, first => 60011, per_transaction => 1000);
caught_up_ok($node, 'app', 'a');
exact_ok('a deletion is open');
$open->query_safe('COMMIT;');
exact_ok('it is committed');
$open->quit;

# Killed while they count.
my $before = $node->safe_psql('app', $counted);

insert_events($node, 'app', 20000, first => 80001, per_transaction => 500);
my ($pid) = lane_pids($node, 'app', 'a');

kill 'KILL', $pid if defined $pid;
wait_until($node, 'app', "SELECT ($counted) > $before + 10000", 't',
	'counting goes on after a crash');
exact_ok('after a crash');
edit("TRUNCATE $ledger");
exact_ok('everything is truncated');
insert_events($node, 'app', 12000);
wait_until($node, 'app', "SELECT ($counted) > $before + 20000", 't',
	'it goes on');
exact_ok('and filled anew');
$node->stop;
done_testing();
