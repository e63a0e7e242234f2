# complete_until: whatever was committed before it has been delivered.  And the
# same beside the table in the store, where watermark=on.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('watermark', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 50ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $next = 1;
my $until = 'SELECT complete_until FROM token_ledger.status'
  . " WHERE target = 'one'";
my $remote = 'SELECT complete_until FROM token_ledger_watermark';

create_store($node, 'one');
my $one = 'one=' . store_url($node, 'one', lanes => 3, batch_rows => 50);

set_targets($node, $one);
moves_while_idle();
waits_for_what_is_not_delivered();
waits_for_open_transactions();
never_says_too_much();
beside_the_table();
role_that_owns_nothing();

$node->stop;
done_testing();

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, %params);
	$next += $n;
	return;
}

sub now
{
	return $node->safe_psql('app', 'SELECT clock_timestamp()');
}

sub passes
{
	my ($time, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app', "SELECT ($until) > '$time'", 't', $what);
}

# Lanes have looked, and not got on.
sub stays_before
{
	my ($time, $what) = @_;
	my $looks = 'SELECT idx_scan FROM pg_stat_user_indexes'
	  . " WHERE indexrelname = 'token_ledger_events_ingest_key'";
	my $before = $node->safe_psql('app', $looks);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_until($node, 'app', "$looks AND idx_scan > $before + 10", qr/^\d+$/,
		"$what: lanes have looked");
	return is($node->safe_psql('app', "SELECT ($until) < '$time'"), 't', $what);
}

sub moves_while_idle
{
	insert_some(200);
	caught_up_ok($node, 'app', 'one');
	passes(now(), 'an idle target is complete up to now');
	passes(now(), 'and goes on being that');
	return;
}

sub waits_for_what_is_not_delivered
{
	my $before;

	$node->safe_psql('one', <<'EOC');
ALTER TABLE token_ledger_events ADD CONSTRAINT refused
	CHECK (model <> 'refused') NOT VALID
EOC
	insert_some(30, set => { model => "'refused'" });
	stays_before(now(), 'events that the store refuses hold it');

	# Each lane judges its own, when it has seen others land.
	insert_some(300)
	  while $node->safe_psql('app',
		'SELECT count(*) FROM token_ledger.dead_letters') < 30
	  && $next < 30_000;
	passes(now(), 'dead letters do not');
	$node->safe_psql('one',
		'ALTER TABLE token_ledger_events DROP CONSTRAINT refused');
	$node->safe_psql('app', "SELECT token_ledger.requeue('one')");
	caught_up_ok($node, 'app', 'one');

	$node->safe_psql('app', "SELECT token_ledger.pause('one')");
	insert_some(30);
	$before = now();
	is($node->safe_psql('app', "SELECT ($until) < '$before'"), 't',
		'a paused target stays behind');
	$node->safe_psql('app', "SELECT token_ledger.resume('one')");
	passes($before, 'until it goes on');
	return;
}

# A transaction that began earlier may bring events of its time.
sub waits_for_open_transactions
{
	my $open = $node->background_psql('app', on_error_stop => 1);
	my $began;

	$open->query_safe('BEGIN');
	$open->query_safe('INSERT INTO token_ledger.token_ledger_events'
		  . " (provider, model) VALUES ('p', 'late')");
	$began = now();
	insert_some(100);
	stays_before($began, 'an open transaction that has written holds it');
	$open->query_safe('COMMIT');
	passes($began, 'until it has committed');
	is($node->safe_psql('one',
			"SELECT count(*) FROM token_ledger_events WHERE model = 'late'"),
		'1', 'and been delivered');

	$node->safe_psql('app', <<'EOC');
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model)
VALUES ('p', 'prepared');
PREPARE TRANSACTION 'held';
EOC
	$began = now();
	stays_before($began, 'as does one that is prepared');
	$node->safe_psql('app', "COMMIT PREPARED 'held'");
	passes($began, 'until that is committed');
	is($node->safe_psql('one',
			"SELECT count(*) FROM token_ledger_events WHERE model = 'prepared'"),
		'1', 'and been delivered');
	$open->quit;
	return;
}

# Under load, with lanes that are killed: at no moment is an event missing in
# the store that was committed before.
sub never_says_too_much
{
	my ($checks, $moved, $last) = (0, 0, '');

	$node->safe_psql('app', <<'EOC');
CREATE TABLE committed (event_id uuid, at timestamptz);
EOC
	for my $round (1 .. 40)
	{
		my ($first, $claimed, %there);

		$node->safe_psql('app', <<EOC);
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
SELECT md5('round $round ' || i)::uuid, 'p', 'load'
FROM generate_series(1, 400) i;
INSERT INTO committed SELECT md5('round $round ' || i)::uuid, clock_timestamp()
FROM generate_series(1, 400) i;
EOC
		my @pids = lane_pids($node, 'app', 'one');

		kill 'TERM', $pids[ rand @pids ] if @pids && $round % 4 == 0;

		# First the watermark, then the store.
		$claimed = $node->safe_psql('app', $until);
		next if $claimed eq '';
		$moved++ if $claimed ne $last;
		$last = $claimed;
		%there = map { $_ => 1 } split /\n/, $node->safe_psql('one',
			"SELECT event_id FROM token_ledger_events WHERE model = 'load'");
		my @missing = grep { !$there{$_} } split /\n/,
		  $node->safe_psql('app',
			"SELECT event_id FROM committed WHERE at < '$claimed'");

		$checks++;
		next if !@missing;
		fail("round $round: " . @missing . " events before $claimed are missing");
		diag_ledger($node, 'app');
		last;
	}
	cmp_ok($checks, '>', 20, "$checks times, nothing was missing");
	cmp_ok($moved, '>', 3, "it moved $moved times meanwhile");
	passes(now(), 'and it catches up');
	return;
}

sub beside_the_table
{
	my $time = now();

	set_targets($node, "$one&watermark=on");
	wait_until($node, 'one', "SELECT ($remote) > '$time'", 't',
		'the store is told');
	is( $node->safe_psql('one',
			'SELECT w.ledger_id = s.ledger_id, count(*) OVER ()'
			  . ' FROM token_ledger_watermark w, token_ledger_source s'),
		't|1',
		'of this ledger');
	insert_some(100);
	$time = now();
	wait_until($node, 'one', "SELECT ($remote) > '$time'", 't', 'again');
	is( $node->safe_psql('one', 'SELECT count(*) FROM token_ledger_events'),
		$node->safe_psql('app',
			'SELECT count(*) FROM token_ledger.token_ledger_events'),
		'and has all events');
	set_targets($node, "$one none=null:///?watermark=on");
	wait_until($node, 'app',
		"SELECT state, last_error FROM token_ledger.status"
		  . " WHERE target = 'none'",
		'invalid|backend "null" has no place for a watermark',
		'a backend without one says so');
	return;
}

sub role_that_owns_nothing
{
	my $time;

	$node->safe_psql('one', <<'EOC');
CREATE ROLE filler LOGIN;
GRANT INSERT, SELECT ON token_ledger_events TO filler;
GRANT SELECT ON token_ledger_schema_version, token_ledger_source TO filler;
GRANT TEMPORARY ON DATABASE one TO filler;
EOC
	my $as_filler = 'one='
	  . store_url($node, 'one', lanes => 3, user => 'filler',
		watermark => 'on');

	set_targets($node, $as_filler);
	insert_some(10);
	caught_up_ok($node, 'app', 'one');
	wait_until($node, 'app',
		"SELECT pg_read_file('" . $node->logfile
		  . "') ~ 'the store does not take the watermark'",
		't', 'a role that may not write it: the log says so');
	insert_some(10);
	caught_up_ok($node, 'app', 'one', name => 'events go on');
	$node->safe_psql('one',
		'GRANT INSERT, UPDATE, SELECT ON token_ledger_watermark TO filler');
	$time = now();
	wait_until($node, 'one', "SELECT ($remote) > '$time'", 't',
		'until it may');
	return;
}
