# Backend snowflake when things go wrong, with the strict double, whose SQL a
# public emulator executes: what each class of errors makes of a batch, lost
# answers, statements that take long or arrive late, a peer that is killed and
# lanes that are killed between the statement and its settlement.  Nothing is
# lost and nothing doubled.
#
# Each case is a target with a table of its own, so that what the peer did for it
# can be told from its journal.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use SnowflakePeer;
use TokenLedger;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

my $PATIENCE = $PostgreSQL::Test::Utils::timeout_default;
my $peer = SnowflakePeer->new;
my $node = ledger_node('snowflake_faults', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 300ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
tokenledger.timeout = 30s
restart_after_crash = on
EOC
my $next = 1;
my $case = 0;

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next,
		set => { cost_usd => 'i * 0.00000125' });
	$next += $n;
	return;
}

# The MERGEs of a table since entry number $since.
sub merges
{
	my ($table, $since) = @_;
	my @all = $peer->journal;

	return grep { $_->{sql} =~ /^MERGE INTO [^ ]*"\U$table\E"/ }
	  @all[ $since .. $#all ];
}

# A target that has forwarded something already.
sub begin
{
	my ($table, %options) = @_;

	$peer->clear_faults;
	set_targets($node, "$table=" . $peer->url(table => $table, %options));
	insert_some(10);
	caught_up_ok($node, 'app', $table, name => "$table begins");
	return scalar(my @entries = $peer->journal);
}

sub arrives
{
	my ($table, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return snowflake_forwarded_ok($node, 'app', $table, $peer,
		table => $table, where => 'true', name => "$name: each event once");
}

# One after the other.  states: what became of each MERGE, by the journal.
foreach my $c (
	{
		name => 'the answer is lost',
		faults => [ { point => 'after', action => 'drop' } ],
		states => 'succeeded repeated+'
	},
	{
		name => 'the statement is lost on its way',
		faults => [ { action => 'drop' } ],
		states => 'succeeded+'
	},
	{
		name => 'it arrives late, and is sent again before it ends',
		faults => [ { action => 'late', seconds => 1 } ],
		states => 'succeeded repeated+'
	},
	{
		name => 'it takes long, and is asked for',
		faults => [ { action => 'async', polls => 3 } ],
		states => 'succeeded'
	},
	{
		name => 'questions about it fail',
		faults => [
			{ action => 'async', polls => 2 },
			{ call => 'poll', action => 'answer', status => 503 },
			{ call => 'poll', action => 'answer', status => 429, code => '390505' },
			{ call => 'poll', action => 'drop' }
		],
		states => 'succeeded'
	},
	{
		name => 'HTTP 503 after it was carried out',
		faults => [ { point => 'after', action => 'answer', status => 503 } ],
		states => 'succeeded repeated+'
	},
	{
		name => 'HTTP 500 before it was',
		faults => [ { action => 'answer', status => 500 } ],
		states => 'succeeded+'
	},
	{
		name => 'HTTP 504 after it was',
		faults => [ { point => 'after', action => 'answer', status => 504 } ],
		states => 'succeeded repeated+'
	},
	{
		name => 'too many requests',
		faults => [ { action => 'answer', status => 429, code => '390505', retry_after => 1 } ],
		states => 'succeeded+'
	},
	{
		name => 'given up by Snowflake',
		faults => [ { action => 'answer', status => 408, code => '000630', sqlState => '57014' } ],
		states => 'succeeded+'
	},
	{
		name => 'given up by a proxy, after it was carried out',
		faults => [ { point => 'after', action => 'answer', status => 408 } ],
		states => 'succeeded repeated+'
	},
	{
		name => 'too large for a proxy',
		faults => [ { action => 'answer', status => 413 } ],
		states => 'succeeded succeeded'
	},
	{
		name => 'an incident',
		faults => [ { action => 'answer', status => 422, code => '000603', sqlState => 'XX000' } ],
		states => 'succeeded+'
	})
{
	my $table = 'case_' . ++$case;
	my $since = begin($table);
	my $states;

	$peer->fault(query => '^MERGE', %$_) foreach @{ $c->{faults} };
	insert_some(10);
	arrives($table, $c->{name});
	is(join(' ', map { $_->{fired} } $peer->faults),
		join(' ', map { 1 } @{ $c->{faults} }),
		"$c->{name}: it happened");
	$states = join ' ',
	  map { $_->{state} . ($_->{retry} ? '+' : '') } merges($table, $since);
	is($states, $c->{states}, "$c->{name}: what was submitted");
}

# What does not go away by itself is said, and goes on when it is mended.
foreach my $c (
	[ 403, '390144', 'auth' ],
	[ 400, '390142', 'config' ],
	[ 422, '000606', 'config' ],
	[ 422, '003001', 'auth' ],
	[ 422, '090073', 'quota' ],
	[ 422, '000904', 'schema' ],
	[ 422, '000625', 'overload' ],
	[ 503, undef, 'overload' ],
	[ 301, undef, 'config' ])
{
	my ($status, $code, $class) = @$c;
	my $table = 'case_' . ++$case;

	begin($table);
	$peer->fault(query => '^MERGE', action => 'answer', status => $status,
		times => 0, defined $code ? (code => $code) : ());
	insert_some(10);
	wait_until($node, 'app', <<"EOC", "error|$class", "HTTP $status, " . ($code // 'no code') . ": class $class");
SELECT state, cause FROM token_ledger.status WHERE target = '$table'
EOC
	$peer->clear_faults;
	arrives($table, "after HTTP $status " . ($code // ''));
}
is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.dead_letter'),
	'0', 'none of these was the fault of an event');

# Lanes that are killed, before and after the statement was carried out.
begin('killed');
foreach my $point (qw(before after))
{
	my $pid;

	$peer->fault(query => '^MERGE', point => $point, action => 'hang');
	insert_some(25);
	ok($peer->await($PATIENCE,
			sub { scalar grep { $_->{hanging} } $peer->faults }),
		"the lane waits for the answer, $point");
	$pid = (lane_pids($node, 'app', 'killed'))[0];
	kill 'KILL', $pid;
	ok($peer->await($PATIENCE, sub { !kill 0, $pid }), "lane $pid is killed");
	$peer->clear_faults;
	ok($peer->await($PATIENCE,
			sub { psql_output($node, 'app', 'SELECT 1') eq '1' }),
		'the server is up again');
	arrives('killed', "killed $point the statement was carried out");
}

# A table that is dropped and made anew is not filled silently; a statement that
# arrives late after a fail-over is waited for.
begin('replayed');
$peer->fault(query => '^MERGE', action => 'late', seconds => 1, times => 2);
insert_some(20);
$node->safe_psql('app', "SELECT token_ledger.replay('replayed', '-infinity', 'infinity')");
arrives('replayed', 'sent again while it may still be running');

# A statement that does not end while anybody waits for it is cancelled, before
# the table is asked.
begin('cancelled', timeout => '1s', statement_timeout => '1s');
my @endless = ($peer->fault(query => '^MERGE', action => 'async', polls => 1_000_000),
	$peer->fault(call => 'cancel', action => 'async', times => 0));
insert_some(20);
arrives('cancelled', 'left running, and cancelled');
foreach my $id (@endless)
{
	my ($fault) = grep { $_->{id} == $id } $peer->faults;

	cmp_ok($fault->{fired}, '>=', 1, ($fault->{call} // 'submit') . ": it happened");
}

# The store itself is killed.
begin('down', lanes => 2, batch_rows => 20);
foreach my $point (qw(before after))
{
	$peer->fault(query => '^MERGE', point => $point, action => 'kill', nth => 3);
	insert_some(200);
	ok($peer->await_end($PATIENCE), "the peer dies $point a statement");
	$peer->start;
}
arrives('down', 'a store that is killed and comes back');
identity_ok($node, 'app', 'the identity holds at the end');
done_testing();
