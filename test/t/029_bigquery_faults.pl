# Backend bigquery when things go wrong, with the strict double: what each error
# makes of a batch, lost answers, a peer that is killed and lanes that are killed
# between the append and its settlement.  Nothing is lost and nothing doubled.
#
# Each case is a target with a table of its own, so that what the peer did for it
# can be told from its journal.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;
use FaultTest;
use TokenLedger;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();

my $PATIENCE = $PostgreSQL::Test::Utils::timeout_default;
my $peer = BigQueryPeer->new;
my $node = fault_test('bigquery_faults', $peer, \&bigquery_forwarded_ok);
my $case = 0;

# The calls that were made for a table since entry number $since.
sub calls
{
	my ($table, $since) = @_;
	my @all = $peer->journal;

	return map { $_->{call} . ($_->{fault} ? '!' : '') }
	  grep { ($_->{stream} // $_->{parent} // join ' ', @{ $_->{streams} // [] })
		  =~ /\b$table\b/ || $_->{call} =~ /^(?:query|insertAll)$/ }
	  @all[ $since .. $#all ];
}

# One target for each case, one after the other; each has a batch before its
# fault.
sub wave
{
	my ($what, @cases) = @_;
	my @names;

	foreach my $c (@cases)
	{
		$c->{table} = 'case_' . ++$case;
		push @names, "$c->{table}="
		  . $peer->url(table => $c->{table}, mode => $c->{mode} // 'committed');
	}
	$peer->clear_faults;
	insert_some(10);
	foreach my $c (@cases)
	{
		my ($entry) = grep { /^$c->{table}=/ } @names;
		my $since;
		my $calls;

		set_targets($node, $entry);
		caught_up_ok($node, 'app', $c->{table}, name => "$c->{name}: begins");
		$since = () = $peer->journal;
		$peer->fault(%$_) foreach @{ $c->{faults} };
		insert_some(10);
		arrives($c->{table}, "$what: $c->{name}");
		is(join(' ', map { $_->{met} } $peer->faults),
			join(' ', map { 1 } @{ $c->{faults} }),
			"$c->{name}: it happened");
		$calls = join ' ', calls($c->{table}, $since);
		is($calls, $c->{calls}, "$c->{name}: what was asked")
		  if defined $c->{calls};
		$peer->clear_faults;
	}
	return;
}

sub lost
{
	my ($call, $action) = @_;

	return { call => $call, point => 'after', action => $action,
		code => 14, status => 503, reason => 'backendError' };
}

sub before
{
	my ($call, %how) = @_;

	return { call => $call, point => 'before', %how };
}

wave(
	'committed',
	{
		name => 'the answer is lost',
		faults => [ lost('append', 'status') ],
		calls => 'append finalize'
	},
	{
		name => 'the connection breaks after it',
		faults => [ lost('append', 'drop') ],
		calls => 'append finalize'
	},
	{
		name => 'the connection breaks before it',
		faults => [ before('append', action => 'drop') ],
		calls => 'append! finalize create append'
	},
	{
		name => 'the answer is lost, and the next',
		faults => [ lost('append', 'drop'), lost('finalize', 'status') ],
		calls => 'append finalize finalize'
	},
	{
		name => 'an offset that is taken',
		faults => [ before('append', action => 'in_band', code => 6, storage => 8) ],
		calls => 'append! finalize query create append'
	},
	{
		name => 'an offset beyond the end',
		faults => [ before('append', action => 'in_band', code => 11, storage => 9) ],
		calls => 'append! create append'
	},
	{
		name => 'a stream that is finalized',
		faults => [ before('append', action => 'in_band', code => 3, storage => 6) ],
		calls => 'append! create append'
	},
	{
		name => 'a stream that has expired',
		faults => [ before('append', action => 'status', code => 5, storage => 3) ],
		calls => 'append! create append'
	},
	{
		name => 'not allowed, for once',
		faults => [ before('append', action => 'status', code => 7) ],
		calls => 'append! append'
	},
	{
		name => 'too much',
		faults => [ before('append', action => 'in_band', code => 8) ],
		calls => 'append! finalize create append'
	},
	{
		name => 'the answer is lost, and the stream with it',
		faults => [
			lost('append', 'status'),
			before('finalize', action => 'status', code => 5, storage => 3)
		],
		calls => 'append finalize! query'
	});
wave(
	'pending',
	{
		name => 'the append is lost on its way',
		mode => 'pending',
		faults => [ before('append', action => 'drop') ],
		calls => 'create append! finalize create append finalize commit'
	},
	{
		name => 'the answer to the append is lost',
		mode => 'pending',
		faults => [ lost('append', 'drop') ],
		calls => 'create append finalize commit'
	},
	{
		name => 'the answer to the commit is lost',
		mode => 'pending',
		faults => [ lost('commit', 'drop') ],
		calls => 'create append finalize commit finalize commit'
	},
	{
		name => 'the commit is refused, for once',
		mode => 'pending',
		faults => [ before('commit', action => 'status', code => 14) ],
		calls => 'create append finalize commit! finalize commit'
	});
wave(
	'default',
	{
		name => 'the answer is lost',
		mode => 'default',
		faults => [ lost('append', 'drop') ],
		calls => 'append query'
	},
	{
		name => 'it is lost on its way',
		mode => 'default',
		faults => [ before('append', action => 'drop') ],
		calls => 'append! query append'
	});
wave(
	'insertall',
	{
		name => 'the answer is lost',
		mode => 'insertall',
		faults => [ lost('insertAll', 'http') ],
		calls => 'insertAll query'
	},
	{
		name => 'too often',
		mode => 'insertall',
		faults => [
			before('insertAll', action => 'http', status => 403,
				reason => 'rateLimitExceeded')
		],
		calls => 'insertAll insertAll'
	},
	{
		name => 'an answer that is none of BigQuery',
		mode => 'insertall',
		faults => [
			before('insertAll', action => 'http', status => 200,
				reason => 'backendError')
		],
		calls => 'insertAll query insertAll'
	});

# The lane's process is killed between the append and its settlement, which
# takes the whole server down; the peer holds the answer back until then.
foreach my $mode (qw(committed pending default insertall))
{
	my $table = "killed_$mode";
	my $call = { pending => 'commit', insertall => 'insertAll' }->{$mode}
	  // 'append';

	begin($table, mode => $mode);
	foreach my $point (qw(before after))
	{
		lane_killed_ok($table, "$point the call was carried out",
			call => $call, point => $point);
	}
}

# The store itself is killed.
set_targets($node, 'down=' . $peer->url(table => 'down', lanes => 2, batch_rows => 20));
insert_some(200);
foreach my $point (qw(before after))
{
	$peer->fault(call => 'append', point => $point, action => 'kill', nth => 3);
	insert_some(200);
	ok($peer->await_end($PATIENCE), "the peer dies $point an append");
	$peer->start;
}
arrives('down', 'a store that is killed and comes back');
identity_ok($node, 'app', 'the identity holds at the end');
is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.dead_letter'),
	'0', 'no event was set aside');
done_testing();
