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

use FaultTest;
use SnowflakePeer;
use TokenLedger;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

my $PATIENCE = $PostgreSQL::Test::Utils::timeout_default;
my $peer = SnowflakePeer->new;
my $node = fault_test('snowflake_faults', $peer, \&snowflake_forwarded_ok);
my $case = 0;

# The MERGEs of a table since entry number $since.
sub merges
{
	my ($table, $since) = @_;
	my @all = $peer->journal;

	return grep { $_->{sql} =~ /^MERGE INTO [^ ]*"\U$table\E"/ }
	  @all[ $since .. $#all ];
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
	lane_killed_ok('killed', "$point the statement was carried out",
		query => '^MERGE', point => $point);
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
