# Retention: what is old goes from the ledger when every target has got it, and
# not before; what is kept says by whom.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('retention', databases => [qw(app alone)], conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 20ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $next = 1;

create_store($node, $_) foreach qw(one two);
my $one = 'app/one=' . store_url($node, 'one', lanes => 2);
my $two = 'app/two=' . store_url($node, 'two');

set_targets($node, "$one $two");
nothing_goes_unasked();
old_events_go();
target_that_is_down();
dead_letters_hold();
jobs_hold();
targets_without_lanes();
no_target_at_all();
killed();
one_for_all();

$node->stop;
done_testing();

# Of $n events, those with even numbers are $days days old, the others new.
sub insert_aged
{
	my ($n, $days, %set) = @_;

	insert_events($node, $set{database} // 'app', $n, first => $next,
		set => {
			timestamp => "now() - CASE WHEN i % 2 = 0 THEN $days ELSE 0 END"
			  . " * interval '1 day'",
			model => "'$set{model}'" });
	$next += $n;
	return;
}

# One setting for the server: what would hold for a database, a role or a
# session alone is refused, and does not pass for set.
sub one_for_all
{
	foreach my $command (
		'ALTER DATABASE app SET tokenledger.retention = 30',
		'ALTER ROLE CURRENT_USER SET tokenledger.retention = 30',
		'SET tokenledger.retention = 30')
	{
		my ($code, undef, $error) = $node->psql('app', $command);

		isnt($code, 0, "refused: $command");
		like($error,
			qr/parameter "tokenledger\.retention" cannot be changed now/,
			'and why');
	}
	return;
}

sub set_retention
{
	my ($days) = @_;

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET tokenledger.retention = $days");
	$node->reload;
	return;
}

# How many events of a model there are, old and new.
sub events
{
	my ($model) = @_;

	return "SELECT count(*) FILTER (WHERE \"timestamp\" < now() - interval '1 day'),"
	  . ' count(*) FROM token_ledger.token_ledger_events'
	  . " WHERE model = '$model'";
}

sub held
{
	my ($target) = @_;

	return 'SELECT retention_held FROM token_ledger.status'
	  . " WHERE target = '$target'";
}

# The worker has made whole passes since it was asked.
sub passes_made
{
	my ($database) = @_;
	my $seen = 'SELECT calls FROM pg_stat_user_functions'
	  . " WHERE funcname = 'delete_expired'";
	my $before = psql_output($node, $database, $seen) || 0;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, $database, "$seen AND calls > $before + 2",
		qr/^\d+$/, 'retention has looked again');
}

# The stores have every event, also those that the ledger had.
sub stores_have
{
	my ($n, @stores) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $store (@stores)
	{
		caught_up_ok($node, 'app', $store);
		is($node->safe_psql($store,
				'SELECT count(*), count(DISTINCT event_id)'
				  . ' FROM token_ledger_events'),
			"$n|$n", "$store has all events once");
	}
	identity_ok($node, 'app', 'the identity holds');
	return;
}

sub nothing_goes_unasked
{
	$node->safe_psql('postgres', 'ALTER SYSTEM SET track_functions = pl');
	$node->reload;
	insert_aged(400, 100, model => 'first');
	stores_have(400, qw(one two));
	is($node->safe_psql('app', events('first')), '200|400', 'all are there');
	is($node->safe_psql('app', held('one')), '', 'and nothing holds them');
	is( $node->safe_psql('postgres',
			'SELECT count(*) FROM pg_stat_activity'
			  . " WHERE backend_type = 'tokenledger retention'"),
		'0',
		'no worker runs');
	return;
}

sub old_events_go
{
	my $retired = 'SELECT sum(events), sum(tokens), sum(cost)'
	  . ' FROM token_ledger.retired';
	my $old = 'SELECT count(*), sum(total_tokens),'
	  . " sum(cost_usd) FILTER (WHERE cost_usd <> 'NaN')"
	  . ' FROM token_ledger.token_ledger_events'
	  . " WHERE \"timestamp\" < now() - interval '1 day'";
	my $expected = $node->safe_psql('app', $old);

	set_retention(150);
	passes_made('app');
	set_retention(90);
	wait_until($node, 'app', events('first'), '0|200', 'old events go');
	is($node->safe_psql('app', $retired), $expected, 'and are counted by hour');
	stores_have(400, qw(one two));
	like(slurp_file($node->logfile),
		qr/tokenledger has deleted 200 events older than 90 days/,
		'the log says so');
	is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.lanes'),
		'3', 'the worker is no lane');
	return;
}

# One that has not got them holds them back, and status says so.
sub target_that_is_down
{
	$node->safe_psql('postgres', 'ALTER DATABASE two ALLOW_CONNECTIONS false');
	$node->safe_psql('postgres',
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		  . " WHERE datname = 'two'");
	insert_aged(300, 100, model => 'down');
	caught_up_ok($node, 'app', 'one');
	passes_made('app');
	is($node->safe_psql('app', events('down')), '150|300', 'all are kept');
	is($node->safe_psql('app', held('two')), 'events that are not settled',
		'by the target that is down');
	is($node->safe_psql('app', held('one')), '', 'not by the other one');
	$node->safe_psql('postgres', 'ALTER DATABASE two ALLOW_CONNECTIONS true');
	wait_until($node, 'app', events('down'), '0|150',
		'they go when it has got them');
	is($node->safe_psql('app', held('two')), '', 'nobody holds any more');
	stores_have(700, qw(one two));
	return;
}

sub dead_letters_hold
{
	$node->safe_psql('one', <<'EOC');
ALTER TABLE token_ledger_events ADD CONSTRAINT refused
	CHECK (model <> 'refused') NOT VALID
EOC
	$node->safe_psql('app', "SELECT token_ledger.pause('one')");
	insert_aged(20, 100, model => 'refused');
	insert_aged(20, 100, model => 'taken');
	$node->safe_psql('app', "SELECT token_ledger.resume('one')");
	insert_aged(2, 100, model => 'taken') for 1 .. 10;
	wait_until($node, 'app', 'SELECT count(*) FROM token_ledger.dead_letters',
		'20', 'dead letters');
	wait_until($node, 'app', events('taken'), '0|20', 'others go');
	passes_made('app');
	is($node->safe_psql('app', events('refused')), '10|20',
		'dead letters stay');
	is($node->safe_psql('app', held('one')), 'dead letters', 'status says so');
	$node->safe_psql('app', <<'EOC');
SELECT token_ledger.discard('one', ARRAY(SELECT event_id
	FROM token_ledger.dead_letters
	WHERE "timestamp" < now() - interval '1 day' LIMIT 4))
EOC
	wait_until($node, 'app', events('refused'), '6|16', 'discarded ones go');
	$node->safe_psql('one', 'ALTER TABLE token_ledger_events'
		  . ' DROP CONSTRAINT refused');
	$node->safe_psql('app', "SELECT token_ledger.requeue('one')");
	wait_until($node, 'app', events('refused'), '0|10',
		'requeued ones go when they have landed');
	stores_have(756, 'one');
	stores_have(760, 'two');
	return;
}

# Of its time alone.  (A job of a target without a lane: it is not begun.)
sub jobs_hold
{
	set_retention(0);
	insert_aged(20, 100, model => 'replayed');
	insert_aged(20, 110, model => 'before');
	caught_up_ok($node, 'app', $_) foreach qw(one two);
	set_targets($node, $two);
	wait_until($node, 'app',
		"SELECT state, lanes FROM token_ledger.status WHERE target = 'one'",
		'removed|0', 'a target without lanes');
	my $job = $node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.job (target_id, kind, from_time, to_time)
SELECT id, 'replay', now() - interval '101 days', now() - interval '99 days'
FROM token_ledger.target WHERE name = 'one' RETURNING id
EOC
	set_retention(90);
	wait_until($node, 'app', events('before'), '0|10', 'others go');
	passes_made('app');
	is($node->safe_psql('app', events('replayed')), '10|20',
		'what a job is to send again stays');
	is($node->safe_psql('app', held('one')), "job $job", 'status says so');
	$node->safe_psql('app', "DELETE FROM token_ledger.job WHERE id = $job");
	wait_until($node, 'app', events('replayed'), '0|10', 'until it ends');
	return;
}

# One that has been removed goes on when it is named again, so it holds; one
# that has not started yet, or whose entry is wrong, wants everything.
sub targets_without_lanes
{
	insert_aged(20, 100, model => 'removed');
	caught_up_ok($node, 'app', 'two');
	passes_made('app');
	is($node->safe_psql('app', events('removed')), '10|20', 'holds');
	is($node->safe_psql('app', held('one')), 'events that are not settled',
		'and status says so');
	set_targets($node, "$two app/three=clickhouse://u:secret\@h/d");
	$node->safe_psql('app', "DELETE FROM token_ledger.target WHERE name = 'one'");
	wait_until($node, 'app', held('three'), 'events that are not settled',
		'an invalid one, too');
	passes_made('app');
	is($node->safe_psql('app', events('removed')), '10|20', 'holds');
	set_targets($node, $two);
	wait_until($node, 'app', events('removed'), '0|10', 'nobody holds');
	return;
}

sub no_target_at_all
{
	insert_aged(20, 100, model => 'alone', database => 'alone');
	wait_until($node, 'alone', events('alone'), '0|10',
		'events of a database without any target go');
	return;
}

# Many pages, a setting that is taken back, and a server that crashes in the
# middle.
sub killed
{
	my $left = 'SELECT count(*) FROM token_ledger.token_ledger_events'
	  . " WHERE model = 'many' AND \"timestamp\" < now() - interval '1 day'";
	my $pid = 'SELECT pid FROM pg_stat_activity WHERE datname = '
	  . "'app' AND backend_type = 'tokenledger retention'";
	my $kills = 0;
	my $gone;

	set_retention(0);
	$gone = $node->safe_psql('app',
		'SELECT sum(events) FROM token_ledger.retired');
	insert_aged(160_000, 100, model => 'many');
	caught_up_ok($node, 'app', 'two');
	set_retention(90);
	for (my $before = 80_000; $kills < 3;)
	{
		my $now = psql_output($node, 'app', $left);

		last if $now eq '0';
		if ($now =~ /^\d+$/ && $now < $before - 4000)
		{
			my $found = psql_output($node, 'app', $pid);

			taken_back($pid) if $before == 80_000;
			$kills += kill 'KILL', $found if $found =~ /^\d+$/;
			$before = $now;
		}
	}
	cmp_ok($kills, '>=', 1, "killed $kills times in the middle");
	wait_until($node, 'app', $left, '0', 'all go in the end');
	identity_ok($node, 'app', 'and are counted');
	is($node->safe_psql('app',
			'SELECT sum(events) FROM token_ledger.retired'),
		$gone + 80_000, 'each once');
	return;
}

# In the middle of a pass: nothing goes any more, least of all what is new.
sub taken_back
{
	my ($pid) = @_;
	my $new = 'SELECT count(*) FROM token_ledger.token_ledger_events'
	  . " WHERE model = 'many' AND \"timestamp\" > now() - interval '1 day'";

	set_retention(0);
	wait_until($node, 'app', "$pid UNION ALL SELECT 0", '0',
		'the worker ends when retention is off');
	is($node->safe_psql('app', $new), '80000', 'and nothing new has gone');
	set_retention(90);
	return;
}
