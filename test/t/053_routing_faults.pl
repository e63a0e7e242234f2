# Filters when something goes wrong: one that throws for an event, or for every
# one; one that is changed while a batch is on its way, which may have landed
# or not, or while an event is held back; one whose column goes away.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('routing', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $events = 'token_ledger.token_ledger_events';
my $next = 1;

create_store($node, 'store');

sub target
{
	my ($name, %options) = @_;

	return "$name=" . store_url($node, 'store', table => $name, %options);
}

sub insert_some
{
	my ($n, %set) = @_;

	insert_events($node, 'app', $n, first => $next, set => {%set});
	$next += $n;
	return;
}

sub ledger
{
	return $node->safe_psql('app', @_);
}

sub store
{
	return $node->safe_psql('store', @_);
}

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

sub stored_is
{
	my ($table, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		store("SELECT count(*), count(DISTINCT event_id) FROM $table"),
		"$expected|$expected", $what);
}

# A filter that throws for some events sets those aside.
my $number = { filter => q{(metadata->>'n')::int % 2 = 1} };

set_targets($node, target('odd', %$number, batch_rows => 40));
insert_some(100, metadata => <<'EOC');
CASE WHEN i IN (5, 41, 42, 99) THEN '{"n": "private words"}'::jsonb
	WHEN i % 10 > 0 THEN jsonb_build_object('n', i) END
EOC
caught_up_ok($node, 'app', 'odd', name => 'a filter that throws stops nobody');
status_is('odd', 'forwarded, filtered, dead', '47|49|4',
	'the events for which it throws are set aside');
is( ledger('SELECT DISTINCT reason, code FROM token_ledger.dead_letter'),
	"the target's filter cannot be evaluated for this event|22P02",
	'and the dead letter says why');
is( ledger("SELECT count(*) FROM token_ledger.dead_letter d"
		  . " JOIN $events e USING (event_id)"
		  . " WHERE e.metadata->>'n' = 'private words'"),
	4, 'it is those');
stored_is('odd', 47, 'the others are in the store');
identity_ok($node, 'app');
unlike(slurp_file($node->logfile), qr/private words/,
	'nothing of an event is in the log');

# So does one for which their text is too deep.
insert_some(10,
	environment => "'deep'",
	metadata => 'NULL',
	request_preview => q{CASE WHEN i % 5 = 0 THEN repeat('[', 1000000)
		ELSE '{"n": 1}' END});
set_targets($node, target('deep', filter =>
	q{environment IS DISTINCT FROM 'deep' OR request_preview::jsonb ? 'n'}));
status_is('deep', 'state, forwarded, dead', 'running|108|2',
	'events that are too deep for it are set aside');
is( ledger('SELECT DISTINCT code FROM token_ledger.dead_letter'
		  . " WHERE code <> '22P02'"),
	'54001', 'and the dead letter says why');
set_targets($node, target('odd', %$number, batch_rows => 40));
caught_up_ok($node, 'app', 'odd');

# One that throws for every event is at fault itself.
insert_some(300, metadata => q{'{"n": "private words"}'::jsonb});
status_is(
	'odd',
	'state, code, last_error, dead <= 104',
	"error|22000|the target's filter cannot be evaluated for any event|t",
	'a filter that throws for all puts the target in error');
unlike(slurp_file($node->logfile), qr/private words/,
	'and nothing of an event is in the log');
set_targets($node, target('odd', filter => q{metadata->>'n' LIKE 'private%'}));
status_is('odd', 'state, in_flight + pending', 'running|0',
	'with another filter it goes on');
identity_ok($node, 'app');

# Replayed events go through the filter of now, and are counted once.
set_targets($node, target('odd', filter => q{(metadata->>'n')::int % 4 > 1}));
caught_up_ok($node, 'app', 'odd');
my $stored = store('SELECT count(*) FROM odd');
my $counts = ledger('SELECT forwarded, filtered, dead FROM token_ledger.status');
my $job = ledger("SELECT token_ledger.replay('odd',"
	  . " '2026-01-01 00:00Z', '2026-01-01 00:11:41Z')");

$node->safe_psql('app', "CALL token_ledger.wait_for_job($job)");
is( ledger("SELECT state FROM token_ledger.jobs WHERE id = $job"),
	'done', 'events are replayed');
is( store('SELECT count(*) FROM odd') - $stored,
	ledger("SELECT count(*) FROM $events WHERE metadata->>'n' ~ '^[0-9]+\$'"
		  . " AND (metadata->>'n')::int % 4 = 2"),
	'those that pass now and did not then have come');
is(ledger('SELECT forwarded, filtered, dead FROM token_ledger.status'),
	$counts, 'nothing is counted a second time');
stored_is('odd', store('SELECT count(*) FROM odd'), 'nothing is doubled');
identity_ok($node, 'app');

# A batch lands, and the lane ends without knowing.  One store refuses an event
# that it has, the other one has to be asked.
sub land_unknown
{
	my ($table, $before, $after, %values) = @_;
	my $in_store = $node->background_psql('store');
	my $in_ledger = $node->background_psql('app');
	my $landed = store("SELECT count(*) FROM $table");

	set_targets($node, target($table, filter => $before));
	insert_some(10);
	caught_up_ok($node, 'app', $table);
	$landed = store("SELECT count(*) FROM $table");
	$in_store->query_safe('BEGIN');
	$in_store->query_safe("LOCK TABLE $table IN EXCLUSIVE MODE");
	insert_some(4, %values);
	wait_until(
		$node, 'store',
		'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted'
		  . " AND relation = '$table'::regclass",
		't', 'a batch is on its way');
	$in_ledger->query_safe('BEGIN');
	$in_ledger->query_safe('SELECT lane FROM token_ledger.lane FOR UPDATE');
	$in_store->query_safe('COMMIT');
	wait_until($node, 'store', "SELECT count(*) - $landed FROM $table",
		'2', 'and has landed');
	my ($pid) = lane_pids($node, 'app', $table);

	set_targets($node, target($table, filter => $after));
	wait_until($node, 'app',
		"SELECT count(*) FROM pg_stat_activity WHERE pid = $pid",
		'0', 'the lane has left without knowing');
	$in_ledger->query_safe('COMMIT');
	caught_up_ok($node, 'app', $table);
	identity_ok($node, 'app');
	$_->quit foreach $in_store, $in_ledger;
	return store("SELECT count(*) - $landed, count(*) - count(DISTINCT event_id)"
		  . " FROM $table");
}

foreach my $table (qw(refuses asked))
{
	set_targets($node, target($table, start => 'now'));
	status_is($table, 'state, lag_events', 'running|0',
		"$table: what comes now is sent");
	insert_some(10);
	caught_up_ok($node, 'app', $table);
	if ($table eq 'asked')
	{
		store("ALTER TABLE asked DROP CONSTRAINT asked_pkey;"
			  . ' SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
			  . " WHERE application_name LIKE 'tokenledger %'");
		insert_some(10);
		caught_up_ok($node, 'app', $table);
		status_is('asked', 'guarantee', 'exactly once, by asking the store',
			'a store that has to be asked');
	}
	is( land_unknown($table, "model = 'one'", "model IN ('one', 'two')",
			model => "CASE WHEN i % 2 = 0 THEN 'one' ELSE 'two' END"),
		'4|0', "$table: what passes the new filter is sent, nothing doubled");
	is( land_unknown($table, "model = 'one'", "model = 'two'",
			model => "CASE WHEN i % 2 = 0 THEN 'one' ELSE 'two' END"),
		'4|0', "$table: also if what has landed passes no more");
	is( land_unknown($table, "model = 'one'", "model = 'none'",
			model => "CASE WHEN i % 2 = 0 THEN 'one' ELSE 'two' END"),
		'2|0', "$table: and if nothing passes");
}

# An event that the store has refused is held back; then the filter drops it.
store("ALTER TABLE refuses ADD CONSTRAINT odd CHECK (model <> 'odd') NOT VALID");
set_targets($node, target('refuses'));
caught_up_ok($node, 'app', 'refuses');
my $filtered = ledger("SELECT filtered FROM token_ledger.status"
	  . " WHERE target = 'refuses'");

insert_some(1, model => "'odd'");
wait_until($node, 'app', 'SELECT cardinality(held) FROM token_ledger.lane l'
	  . ' JOIN token_ledger.target t ON t.id = l.target_id'
	  . " WHERE t.name = 'refuses'", '1', 'an event is held back');
set_targets($node, target('refuses', filter => "model <> 'odd'"));
status_is('refuses', "in_flight + pending, filtered - $filtered, dead",
	'0|1|0', 'a filter drops it');
insert_some(5);
insert_some(2, model => "'odd'");
caught_up_ok($node, 'app', 'refuses');
status_is('refuses', "state, filtered - $filtered, dead", 'running|3|0',
	'and those that follow');
identity_ok($node, 'app');

# The filter's column goes away, and comes back.
set_targets($node, target('refuses', filter => "team = 'search'"));
insert_some(3, team => "CASE WHEN i % 3 = 0 THEN 'search' END");
caught_up_ok($node, 'app', 'refuses');
my $all = store('SELECT count(*) FROM refuses');

ledger("ALTER EXTENSION tokenledger UPDATE TO '1.2'");
insert_some(2);
status_is(
	'refuses',
	'state, last_error',
	'invalid|option "filter" names a column that the ledger does not have',
	'without its column a filter is invalid');
is(store('SELECT count(*) FROM refuses'), $all, 'and nothing is sent');
ledger('ALTER EXTENSION tokenledger UPDATE');
insert_some(3, team => "'search'");
caught_up_ok($node, 'app', 'refuses', name => 'with it, it goes on');
is(store('SELECT count(*) FROM refuses'), $all + 3, 'by itself');
identity_ok($node, 'app');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');
done_testing();
