# What an operator does with the ledger meanwhile, drawn by lot.  None of it may
# lose or double an event; what it leaves behind is undone in the end.
package Torture::Operations;

use strict;
use warnings FATAL => 'all';

use Torture::Writer;

# Weight, name, and what is done: a function of the ledger's server and the name
# of a target that returns whether it was; what a target's store says if it
# cannot take it.
my @operations = (
	[ 2, 'pause', sub { _call('pause', @_) } ],
	[ 3, 'resume', sub { _call('resume', @_) } ],
	[ 1, 'flush', sub { _call('flush', @_, "interval '100 ms'") } ],
	[ 2, 'requeue', \&_requeue ],
	[ 1, 'replay', sub { _call('replay', @_, _range()) }, 'takes_replays' ],
	[ 4, 'retention', \&_retain ]);

# As Torture::Faults lists what it draws from: none of them kills.
sub of
{
	my ($ledger) = @_;

	return map {
		my (undef, $name, $do, $asked) = @$_;

		[ $_->[0], $name, 0,
			sub { $do->($ledger->{server}, _any($ledger, $asked)) } ]
	} @operations;
}

# Everything that keeps a target from catching up.
sub undo
{
	my ($ledger) = @_;

	_call('resume', $ledger->{server}, $_) foreach $ledger->targets;
	return;
}

sub _any
{
	my ($ledger, $asked) = @_;
	my @targets = grep {
		my $store = $ledger->store($_);

		!defined $asked || !$store->can($asked) || $store->$asked
	} $ledger->targets;

	return $targets[ rand @targets ];
}

# A few at a time: a store that refuses a hundred of them and is sent nothing
# else is a target in error, and does not catch up.
sub _requeue
{
	my ($server, $target) = @_;

	return _call('requeue', $server, $target, <<EOC);
ARRAY(SELECT d.event_id FROM token_ledger.dead_letters d
	WHERE d.target = '$target' AND d.state = 'dead' AND NOT EXISTS (
		SELECT FROM token_ledger.dead_letters o
		WHERE o.target = '$target' AND o.state IN ('requeued', 'sending'))
	LIMIT 20)
EOC
}

# Of the timestamps that Torture::Writer draws from, a hundredth.
sub _range
{
	my $from = int rand $Torture::Writer::SECONDS;

	return map { "'$Torture::Writer::FIRST_DAY'::timestamptz + '$_ s'" } $from,
	  $from + 100_000;
}

# Of all targets at once: what is older than some day of those that
# Torture::Writer draws from, or nothing.  A change has the whole ledger looked
# through.
sub _retain
{
	my ($server) = @_;
	my $second = int rand $Torture::Writer::SECONDS;
	my $days = rand() < 0.2 ? 0 : $server->query('app', <<EOC) // return 0;
SELECT greatest(0, extract(day FROM now()
	- '$Torture::Writer::FIRST_DAY'::timestamptz - interval '$second s'))::int
EOC

	return 0
	  unless defined $server->query('app',
		"ALTER SYSTEM SET tokenledger.retention = $days");
	return defined $server->query('app', 'SELECT pg_reload_conf()');
}

# The server may be down: then it was not done.
sub _call
{
	my ($function, $server, $target, @more) = @_;
	my $arguments = join ', ', "'$target'", @more;

	return defined $server->query('app',
		"SELECT token_ledger.$function($arguments)");
}

1;
