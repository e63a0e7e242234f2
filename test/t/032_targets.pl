# Settings that change while lanes run: targets added, changed and removed, more
# lanes and fewer, pause and resume.  Nothing needs a restart, and no change
# loses or doubles an event.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('targets', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
EOC
my $next = 1;

create_store($node, $_) foreach qw(one two);

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, %params);
	$next += $n;
	return;
}

sub entry
{
	my ($name, %options) = @_;

	return "$name=" . store_url($node, $name, %options);
}

# The lanes that run are these, such as "one.0 one.1".
sub lanes_are
{
	my ($expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT string_agg(target || '.' || lane, ' ' ORDER BY target, lane)"
		  . ' FROM token_ledger.lanes WHERE pid IS NOT NULL',
		$expected, $what);
}

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# Events of before the first target are carried as well.
insert_some(300, per_transaction => 20);
set_targets($node, entry('one'));
forwarded_ok($node, 'app', 'one', $node, 'one',
	name => 'a new target starts at the beginning');

# Added.
set_targets($node, entry('one') . ' ' . entry('two', lanes => 2));
insert_some(300, per_transaction => 20);
forwarded_ok($node, 'app', $_, $node, $_, name => "$_ after two was added")
  foreach qw(one two);
lanes_are('one.0 two.0 two.1', 'each has its lanes');

# Another target's change leaves a lane alone.
my ($pid) = lane_pids($node, 'app', 'one');
set_targets($node, entry('one') . ' ' . entry('two', lanes => 4));
lanes_are('one.0 two.0 two.1 two.2 two.3', 'more lanes start');
is((lane_pids($node, 'app', 'one'))[0],
	$pid, 'a target that did not change keeps its lane');

# Fewer lanes: those that hold a range finish it, whatever the setting says.
# None asks the locked table before it claims.
my $blocker = $node->background_psql('two');
$blocker->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
set_targets($node, entry('one') . ' '
	  . entry('two', lanes => 4, batch_rows => 10, claim_rows => 20,
		check_kept => 'off'));
insert_some(400, per_transaction => 10);
wait_until($node, 'app',
	'SELECT count(*) FROM token_ledger.lanes'
	  . " WHERE target = 'two' AND range_rows > 0",
	'4', 'four lanes hold ranges');
my $old = join ', ', lane_pids($node, 'app', 'two');
set_targets($node, entry('one') . ' '
	  . entry('two', lanes => 1, check_kept => 'off'));
wait_until($node, 'app',
	"SELECT count(*) FROM token_ledger.lanes WHERE target = 'two'"
	  . " AND pid NOT IN ($old)",
	'4', 'lanes beyond the new number go on while they hold a range');
$blocker->query_safe('ROLLBACK;');
$blocker->quit;
lanes_are('one.0 two.0', 'and retire when they have settled it');
forwarded_ok($node, 'app', $_, $node, $_, name => "$_ with fewer lanes")
  foreach qw(one two);
is( $node->safe_psql('app',
		'SELECT count(*) FROM token_ledger.lanes WHERE range_rows > 0'),
	'0', 'no range is left behind');
set_targets($node, entry('one') . ' ' . entry('two', lanes => 3));
lanes_are('one.0 two.0 two.1 two.2', 'lanes that had retired come back');
insert_some(200, per_transaction => 10);
forwarded_ok($node, 'app', 'two', $node, 'two',
	name => 'two with lanes that had retired');

# Lanes that fail are replaced, and no trouble of theirs stays behind.
$blocker = $node->background_psql('two');
$blocker->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
set_targets($node, entry('one') . ' '
	  . entry('two', lanes => 3, batch_rows => 10, claim_rows => 20,
		timeout => '200ms'));
insert_some(200, per_transaction => 10);
wait_until($node, 'app',
	'SELECT count(*) FROM token_ledger.lanes'
	  . " WHERE target = 'two' AND attempts > 2",
	'3', 'three lanes fail');
status_is('two', 'state', 'error', 'status says so');
set_targets($node, entry('one') . ' ' . entry('two', lanes => 2));
lanes_are('one.0 two.0 two.1 two.2', 'all of them go on, and one is to end');
$blocker->query_safe('ROLLBACK;');
$blocker->quit;
forwarded_ok($node, 'app', 'two', $node, 'two',
	name => 'two after its lanes were replaced');
lanes_are('one.0 two.0 two.1', 'the lane that was to end has ended');
status_is('two', 'state, last_error', 'running|',
	'status has forgotten the error');

# Removed, and there again.
set_targets($node, entry('one'));
lanes_are('one.0', 'the lanes of a removed target end');
status_is('two', 'state', 'removed', 'status still shows a removed target');
insert_some(100);
forwarded_ok($node, 'app', 'one', $node, 'one', name => 'one without two');
set_targets($node, entry('one') . ' ' . entry('two'));
forwarded_ok($node, 'app', 'two', $node, 'two',
	name => 'a target that is there again goes on where it was');

# Another destination under the same name.
set_targets($node,
	entry('one') . ' two=' . store_url($node, 'two', table => 'elsewhere'));
status_is('two', 'state', 'stopped', 'another destination stops the target');
like(
	$node->safe_psql('app',
		"SELECT last_error FROM token_ledger.status WHERE target = 'two'"),
	qr/destination/, 'and status says why');
insert_some(100);
forwarded_ok($node, 'app', 'one', $node, 'one',
	name => 'one while two is stopped');
is( $node->safe_psql('two', "SELECT to_regclass('public.elsewhere')"),
	'', 'nothing was made at the other destination');
set_targets($node, entry('one') . ' ' . entry('two'));
forwarded_ok($node, 'app', 'two', $node, 'two',
	name => 'the old destination goes on');
identity_ok($node, 'app');

# Pause and resume.
$node->safe_psql('app', "SELECT token_ledger.pause('one')");
insert_some(150);
forwarded_ok($node, 'app', 'two', $node, 'two',
	name => 'two while one is paused');
status_is('one', 'state, lag_events', 'paused|150', 'a paused target waits');
identity_ok($node, 'app', 'the identity holds while a target is paused');
$node->restart;
status_is('one', 'state, lag_events', 'paused|150',
	'a target stays paused over a restart');
$node->safe_psql('app', "SELECT token_ledger.resume('one')");
forwarded_ok($node, 'app', 'one', $node, 'one',
	name => 'a resumed target goes on');

# No target at all, and none of this was felt by those who insert.
set_targets($node, '');
lanes_are('', 'no targets, no lanes');
is(insert_events($node, 'app', 10, first => $next), 10, 'events are inserted');
identity_ok($node, 'app');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
