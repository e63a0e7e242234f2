# Dead letters that are sent again, or given up: requeue() and discard().  What
# is requeued lands once, or is dead again, whatever ends the lanes meanwhile.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('letters', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 100ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $next = 1;

create_store($node, $_) foreach qw(strict asked);
my $strict =
  'strict=' . store_url($node, 'strict', batch_rows => 100);
my $asked = 'asked=' . store_url($node, 'asked', batch_rows => 150);

set_targets($node, "$strict $asked");
insert_some(200);
forwarded_ok($node, 'app', $_, $node, $_) foreach qw(strict asked);

# A store that can only be asked: whoever does not ask doubles.
store('asked', 'ALTER TABLE token_ledger_events'
	  . ' DROP CONSTRAINT token_ledger_events_pkey');
restart_lanes();
wait_until($node, 'app',
	"SELECT guarantee FROM token_ledger.status WHERE target = 'asked'",
	'exactly once, by asking the store', 'a store that has to be asked');

refused_again();
by_id_and_code();
mended();
landed_before();
paused_and_removed();
vanished();
filtered();
store_takes_nothing();
bad_by_the_hundred();
many_and_killed();

$node->stop;
done_testing();

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, %params);
	$next += $n;
	return;
}

sub store
{
	my ($store, $sql) = @_;

	return $node->safe_psql($store, $sql);
}

sub restart_lanes
{
	$node->safe_psql('app',
		'SELECT pg_terminate_backend(pid) FROM token_ledger.lanes'
		  . ' WHERE pid IS NOT NULL');
	return;
}

# Stores refuse models like the pattern, and name the event.
sub refuse_models
{
	my ($pattern, @stores) = @_;

	foreach my $store (@stores)
	{
		store($store, <<EOC);
ALTER TABLE token_ledger_events DROP CONSTRAINT IF EXISTS refused;
ALTER TABLE token_ledger_events
	ADD CONSTRAINT refused CHECK (model NOT LIKE '$pattern') NOT VALID;
EOC
	}
	return;
}

sub refuse_nothing
{
	store($_, 'ALTER TABLE token_ledger_events DROP CONSTRAINT refused')
	  foreach @_;
	return;
}

# state, times and number of a target's dead letters
sub letters
{
	my ($target) = @_;

	return "SELECT state, times, count(*) FROM token_ledger.dead_letters"
	  . " WHERE target = '$target' GROUP BY 1, 2 ORDER BY 1, 2";
}

sub requeue
{
	my (@arguments) = @_;

	return $node->safe_psql('app',
		'SELECT token_ledger.requeue(' . join(', ', @arguments) . ')');
}

# Nothing lost, nothing twice, everything counted.
sub all_well
{
	my ($what, @targets) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $target (@targets)
	{
		forwarded_ok($node, 'app', $target, $node, $target,
			name => "$what: $target holds every other event once",
			where => ($target eq 'strict' ? "model <> 'out' AND " : '')
			  . 'event_id NOT IN (SELECT d.event_id'
			  . ' FROM token_ledger.dead_letters d'
			  . " WHERE d.target = '$target')");
	}
	identity_ok($node, 'app', "$what: the identity holds");
	return;
}

# What the store still refuses is dead again: also if nothing else is sent.
sub refused_again
{
	refuse_models('evil%', qw(strict asked));
	insert_some(100);
	insert_some(40, set => { model => "'evil ' || i % 4" });
	insert_some(100);
	wait_until($node, 'app', letters($_), 'dead|1|40', "$_: 40 dead letters")
	  foreach qw(strict asked);
	is( $node->safe_psql('app', <<'EOC'), '160', 'the view says what they are');
SELECT count(*) FROM token_ledger.dead_letters d
	JOIN (VALUES ('evil 0'), ('evil 1'), ('evil 2'), ('evil 3')) m (model)
		USING (model), generate_series(1, 2)
WHERE d.code = '23514' AND d.reason ~ 'refused' AND d.provider IS NOT NULL
	AND d."timestamp" IS NOT NULL AND d.first_at = d.last_at
EOC
	is(requeue("'strict'"), '40', 'requeued');
	wait_until($node, 'app', letters('strict'), 'dead|2|40',
		'those that are refused again are dead again');
	is( $node->safe_psql('app',
			'SELECT DISTINCT first_at < last_at FROM token_ledger.dead_letters'
			  . " WHERE target = 'strict'"),
		't',
		'and keep the time of the first refusal');
	is( $node->safe_psql('app',
			"SELECT state FROM token_ledger.status WHERE target = 'strict'"),
		'running',
		'the target is not in error');
	all_well('refused again', qw(strict asked));
	return;
}

sub by_id_and_code
{
	my $two = 'ARRAY(SELECT event_id FROM token_ledger.dead_letters'
	  . " WHERE target = 'asked' ORDER BY event_id LIMIT 2)";
	my $discard = sub {
		return $node->safe_psql('app',
			"SELECT token_ledger.discard('asked', " . join(', ', @_) . ')');
	};

	is(requeue("'asked'", "code => '22001'"), '0', 'no event has that code');
	is($discard->($two), '2', 'two are discarded');
	is($node->safe_psql('app', letters('asked')),
		"dead|1|38\ndiscarded|1|2", 'and counted so');
	is($discard->($two), '0', 'once');
	is(requeue("'asked'", "code => '23514'"), '38', 'by their code');
	wait_until($node, 'app', letters('asked'),
		"dead|2|38\ndiscarded|1|2", 'the discarded ones are left alone');
	is(requeue("'asked'", $two), '2', 'unless somebody asks for them');
	wait_until($node, 'app', letters('asked'), "dead|2|40", 'all are dead');
	is(requeue("'asked'", "ARRAY[gen_random_uuid()]"), '0', 'of an unknown id');
	all_well('by id and code', qw(strict asked));
	return;
}

sub mended
{
	my $forwarded = "SELECT forwarded FROM token_ledger.status"
	  . " WHERE target = 'strict'";
	my $before = $node->safe_psql('app', $forwarded);

	refuse_nothing(qw(strict asked));
	requeue("'$_'") foreach qw(strict asked);
	is( $node->safe_psql('app',
			"SELECT token_ledger.flush('strict'), token_ledger.flush('asked')"),
		't|t',
		'flush waits for what was requeued');
	is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.dead_letters'),
		'0', 'what lands is no dead letter any more');
	is($node->safe_psql('app', $forwarded), $before + 40,
		'and counts as forwarded, once');
	all_well('mended', qw(strict asked));
	return;
}

# The store got it in another way: it is asked, or it tells.
sub landed_before
{
	refuse_models('late%', qw(strict asked));
	insert_some(30, set => { model => "'late'" });
	insert_some(30);
	wait_until($node, 'app', letters($_), 'dead|1|30', "$_: 30 dead letters")
	  foreach qw(strict asked);
	refuse_nothing(qw(strict asked));

	my $columns = store('strict', <<'EOC');
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
FROM pg_attribute
WHERE attrelid = 'token_ledger_events'::regclass AND attnum > 0
EOC
	my $rows = $node->safe_psql('app', <<EOC);
COPY (SELECT $columns FROM token_ledger.token_ledger_events
	WHERE model = 'late' ORDER BY event_id LIMIT 10) TO STDOUT
EOC
	store($_, "COPY token_ledger_events ($columns) FROM STDIN;\n$rows\n\\.\n")
	  foreach qw(strict asked);
	requeue("'$_'") foreach qw(strict asked);
	all_well('landed before', qw(strict asked));
	is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.dead_letters'),
		'0', 'none is left');
	return;
}

# They wait as other events do.
sub paused_and_removed
{
	my $pending = 'SELECT state, pending, in_flight FROM token_ledger.status'
	  . " WHERE target = 'strict'";

	make_dead(20);
	$node->safe_psql('app', "SELECT token_ledger.pause('strict')");
	is(requeue("'strict'"), '20', 'requeued while paused');
	is($node->safe_psql('app', $pending), 'paused|20|0', 'pending');
	restart_lanes();
	is($node->safe_psql('app', $pending), 'paused|20|0', 'still pending');
	set_targets($node, $asked);
	wait_until($node, 'app', $pending, 'removed|20|0', 'no lane at all');
	$node->safe_psql('app', "SELECT token_ledger.resume('strict')");
	set_targets($node, "$strict $asked");
	all_well('paused and removed', qw(strict asked));
	return;
}

# n events that the store 'strict' has refused, and now takes.
sub make_dead
{
	my ($n) = @_;

	refuse_models('dead%', 'strict');
	insert_some(2 * $n,
		set => { model => "CASE WHEN i % 2 = 0 THEN 'dead' ELSE 'good' END" });
	insert_some(20);
	wait_until($node, 'app', letters('strict'), "dead|1|$n",
		"$n dead letters");
	refuse_nothing('strict');
	return;
}

# Deleted from the ledger, before or after it was requeued.
sub vanished
{
	make_dead(20);
	delete_dead(5);
	$node->safe_psql('app', "SELECT token_ledger.pause('strict')");
	requeue("'strict'");
	delete_dead(5);
	identity_ok($node, 'app', 'deleted while requeued');
	$node->safe_psql('app', "SELECT token_ledger.resume('strict')");
	all_well('vanished', qw(strict asked));
	is( $node->safe_psql('app',
			'SELECT vanished FROM token_ledger.accounting'
			  . " WHERE target = 'strict'"),
		'10',
		'counted as vanished');
	is($node->safe_psql('app', letters('strict')), '', 'and forgotten');
	return;
}

sub delete_dead
{
	my ($n) = @_;
	my $columns = '(SELECT event_id FROM token_ledger.dead_letters WHERE'
	  . " target = 'strict' AND model IS NOT NULL ORDER BY event_id LIMIT $n)";

	$node->safe_psql('app', <<EOC);
BEGIN;
SET LOCAL tokenledger.allow_ledger_edits = on;
DELETE FROM token_ledger.token_ledger_events WHERE event_id IN $columns;
COMMIT;
EOC
	store('asked', 'DELETE FROM token_ledger_events a WHERE event_id = ANY'
		  . " ('{"
		  . join(',', split /\n/, missing())
		  . "}')");
	return;
}

# What the ledger no longer holds, and the store 'asked' does.
sub missing
{
	my $ids = join ',', split /\n/,
	  store('asked', 'SELECT event_id FROM token_ledger_events');

	return $node->safe_psql('app', <<EOC);
SELECT id FROM unnest('{$ids}'::uuid[]) id WHERE NOT EXISTS (
	SELECT FROM token_ledger.token_ledger_events WHERE event_id = id)
EOC
}

# The target's filter leaves them out by now.
sub filtered
{
	refuse_models('out', 'strict');
	insert_some(20, set => { model => "'out'" });
	insert_some(20);
	wait_until($node, 'app', letters('strict'), 'dead|1|20', 'dead letters');
	refuse_nothing('strict');
	set_targets($node, "$strict&filter=model%20%3C%3E%20%27out%27 $asked");
	requeue("'strict'");
	wait_until($node, 'app', letters('strict'), '', 'filtered, and forgotten');
	is( $node->safe_psql('app',
			'SELECT filtered FROM token_ledger.status'
			  . " WHERE target = 'strict'"),
		'20',
		'counted as filtered');
	identity_ok($node, 'app', 'filtered: the identity holds');
	set_targets($node, "$strict $asked");
	return;
}

# A store that was said to be mended, and takes nothing: the target is in
# error, and most of what was requeued is not even tried.
sub store_takes_nothing
{
	my $state = 'SELECT state, cause, dead FROM token_ledger.status'
	  . " WHERE target = 'strict'";

	make_dead(250);
	refuse_models('%', 'strict');
	is(requeue("'strict'"), '250', 'requeued');
	wait_until($node, 'app', $state, 'error|data|0',
		'a store that refuses all: the target is in error');
	identity_ok($node, 'app', 'in error: the identity holds');
	is($node->safe_psql('app', 'SELECT max(times) FROM token_ledger.dead_letters'),
		'1', 'and no event is dead again');
	refuse_nothing('strict');
	all_well('it takes them after all', qw(strict asked));
	is($node->safe_psql('app', $state), 'running||0', 'and is no more in error');

	make_dead(150);
	refuse_models('%', 'strict');
	set_targets($node, "$strict&retry_min=10s&retry_max=10s $asked");
	requeue("'strict'");
	wait_until($node, 'app', $state, 'error|data|0', 'in error again');
	wait_until(
		$node, 'app',
		"SELECT token_ledger.discard('strict') < 0;\n" . letters('strict'),
		"f\ndiscarded|1|150",
		'those that wait can be discarded, those that a lane has soon after');
	wait_until($node, 'app', $state, 'running||0', 'then nothing is wrong');
	set_targets($node, "$strict $asked");
	refuse_nothing('strict');
	requeue("'strict'",
		'ARRAY(SELECT event_id FROM token_ledger.dead_letters)');
	all_well('discarded and requeued', qw(strict asked));
	return;
}

# Nor do bad events by the hundred keep good ones from a store that works.
sub bad_by_the_hundred
{
	make_dead(350);
	refuse_models('dead%', 'strict');
	is(requeue("'strict'"), '350', 'requeued');
	for (1 .. 100)
	{
		insert_some(20);
		last if $node->safe_psql('app', letters('strict')) eq 'dead|2|350';
		$node->safe_psql('app', "SELECT token_ledger.flush('strict', '0.2 s')");
	}
	wait_until($node, 'app', letters('strict'), 'dead|2|350',
		'as others land, all bad ones are dead again');
	all_well('by the hundred', qw(strict asked));
	refuse_nothing('strict');
	requeue("'strict'");
	all_well('and mended', qw(strict asked));
	return;
}

# 100,000 dead letters, two lanes that are killed again and again.  They are
# made by hand: events that had arrived lose their row in the store, for which a
# lane that begins must not ask.
sub many_and_killed
{
	my $n = 100_000;
	my $left = 'SELECT count(*) FROM token_ledger.dead_letter'
	  . " WHERE state IN ('requeued', 'sending')";
	my ($kills, $differences) = (0, '');

	insert_some($n, set => { model => "'many'" });
	all_well('before', 'strict');
	set_targets($node, "$strict&lanes=2&check_kept=off $asked");
	$node->safe_psql('app', <<EOC);
BEGIN;
INSERT INTO token_ledger.dead_letter (target_id, event_id, reason, code)
SELECT t.id, e.event_id, 'by hand', 'X'
FROM token_ledger.target t, token_ledger.token_ledger_events e
WHERE t.name = 'strict' AND e.model = 'many';
UPDATE token_ledger.lane l SET forwarded = forwarded - $n
FROM token_ledger.target t
WHERE t.id = l.target_id AND t.name = 'strict' AND l.lane = 0;
COMMIT;
EOC
	store('strict', "DELETE FROM token_ledger_events WHERE model = 'many'"
		  . ' AND abs(hashtext(event_id::text)) % 10 < 7');
	identity_ok($node, 'app', 'many dead letters');
	is(requeue("'strict'", "code => 'X'"), $n, "$n are requeued");
	for (my $before = $n + 1; $kills < 12;)
	{
		my $now = psql_output($node, 'app', $left);

		last if $now eq '0';
		if ($now =~ /^\d+$/ && $now < $before - 500)
		{
			my @pids = lane_pids($node, 'app', 'strict');

			$differences .= psql_output($node, 'app',
				'SELECT target, difference FROM token_ledger.accounting'
				  . ' WHERE difference <> 0');
			$kills += kill 'KILL', $pids[ rand @pids ] if @pids;
			$before = $now;
		}
	}
	cmp_ok($kills, '>=', 5, "killed $kills times in the middle");
	wait_until($node, 'app', $left, '0', 'all are sent in the end');
	is($differences, '', 'and the identity held all the time');
	all_well('many', qw(strict asked));
	is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.dead_letters'),
		'0', 'none is left');
	return;
}
