# Small batches, and what goes wrong with each at one of its steps.
package Torture::Steps;

use strict;
use warnings FATAL => 'all';

use List::Util qw(max sum0);
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use parent 'Torture::Batches';

our $SETTLE_SECONDS = 120;

# How long a fault has for being met before somebody is killed all the same.
our $MEET_SECONDS = 0.3;

our $MOST_EVENTS = 40;

# Weight, name and victim, which may be nobody; "store": the store's affair.
my @killings = (
	[ 3, 'nobody', undef ],
	[ 6, 'lane', qr/^tokenledger lane/ ],
	[ 1, 'launcher', qr/^tokenledger launcher/ ],
	[ 2, 'any process', qr/./ ],
	[ 2, 'ledger', 'ledger' ],
	[ 3, 'store', 'store' ]);

# As of Torture::Batches, and: seeds, seconds, late
sub new
{
	my ($class, %self) = @_;

	return $class->SUPER::new(
		%self,
		done => 0,
		faults => {},
		kills => {},
		met => {},
		worst => {});
}

sub prepare
{
	my ($self) = @_;

	$self->create(<<'EOC');
tokenledger.batch_rows = 30
tokenledger.claim_rows = 60
tokenledger.poll_interval = 500ms
tokenledger.timeout = 2s
fsync = off
EOC
	$self->insert(1);
	$self->_await;
	$self->{stores}->kind($_) foreach @{ $self->{names} };
	$self->_measure;
	return;
}

sub run
{
	my ($self) = @_;
	my $begun = time;

	foreach my $seed ($self->{seed} .. $self->{seed} + $self->{seeds} - 1)
	{
		last if $self->{seconds} && time - $begun > $self->{seconds};
		srand $seed;
		eval { $self->_seed; 1 } or die "seed $seed: $@";
		$self->{done}++;
	}
	return;
}

# Bytes of the largest batch in an open session, by direction.
sub _measure
{
	my ($self) = @_;

	foreach my $name (@{ $self->{names} })
	{
		$self->{wires}{$name}->order('open');
	}
	$self->insert($MOST_EVENTS);
	$self->_await;
	foreach my $name (@{ $self->{names} })
	{
		@{ $self->{bytes}{$name} }{qw(up down)} =
		  $self->{wires}{$name}->count;
	}
	return;
}

sub _seed
{
	my ($self) = @_;
	my @armed = grep { rand() < 0.8 && $self->_arm($_) } @{ $self->{names} };

	$self->_insert(1 + int rand() ** 2 * $MOST_EVENTS)
	  foreach 0 .. int rand 2;
	$self->_await_fault;
	my $killed = $self->_kill;
	my $begun = time;

	$self->_leave_alone if rand() < 0.1;
	$self->_relent(@armed);
	$self->_await;
	$self->{worst}{$killed} = max(time - $begun, $self->{worst}{$killed} // 0);
	return;
}

# NB: a server may notice only now who was killed before.
sub _insert
{
	my ($self, $n) = @_;

	return if eval { $self->insert($n); 1 };
	$self->_reconnect;
	$self->{events} = $self->{session}->query(
		'SELECT count(*) FROM token_ledger.token_ledger_events');
	return;
}

sub _reconnect
{
	my ($self) = @_;

	$self->{server}->await;
	$self->{session} = Torture::Session->new($self->{server}, 'app');
	return;
}

# false: nothing will go wrong.
sub _arm
{
	my ($self, $name) = @_;
	my $wire = $self->{wires}{$name};
	my $what = rand() < 0.4 ? $self->{stores}->fault($name) : undef;

	unless (defined $what)
	{
		my $direction = rand() < 0.6 ? 'up' : 'down';
		my $order = rand() < 0.5 ? 'cut' : 'hold';
		my $anew = rand() < 0.2;
		my $bytes = int rand() ** 1.5 * 1.1 * $self->{bytes}{$name}{$direction};

		$wire->order('refuse') if $anew;
		$wire->order("$order $direction $bytes");
		$what = "wire: $order $direction" . ($anew ? ' from the start' : '');
	}
	$self->{faults}{$what}++;
	return 1;
}

# NB: without a fault, too, as the moment of the killing.
sub _await_fault
{
	my ($self) = @_;
	my $deadline = time + rand $MEET_SECONDS;

	until (time > $deadline
		|| $self->{stores}->holds
		|| grep { ($_->count)[2] } values %{ $self->{wires} })
	{
		usleep(5_000);		# sleep-ok: interval of a poll with a deadline
	}
	return;
}

# Who it was.
sub _kill
{
	my ($self) = @_;
	my $lot = rand sum0(map { $_->[0] } @killings);
	my ($victim) = grep { ($lot -= $_->[0]) < 0 } @killings;
	my (undef, $name, $whom) = @$victim;

	return 'nobody'
	  if !defined $whom
	  || !($whom eq 'store' ? $self->{stores}->kill
		: $whom eq 'ledger' ? $self->_kill_ledger
		: $self->{server}->signal('KILL', $whom));
	$self->{kills}{$name}++;
	return $name;
}

sub _kill_ledger
{
	my ($self) = @_;

	$self->{server}->crash;
	return 1;
}

# For longer than a lane's patience.
sub _leave_alone
{
	my ($self) = @_;

	usleep(1e6 * rand 3);	# sleep-ok: how long a fault lasts
	return;
}

sub _relent
{
	my ($self, @armed) = @_;

	foreach my $name (@armed)
	{
		my $wire = $self->{wires}{$name};

		$self->{met}{wire}++ if ($wire->count)[2];
		$wire->order('refuse')
		  unless $self->{late} || $self->{stores}->fences_late($name);
		$wire->order('open');
	}
	$self->{stores}->relent;
	return;
}

# Every target has settled everything; one that has not begun has not.
sub _await
{
	my ($self) = @_;
	my $deadline = time + $SETTLE_SECONDS;

	until ($self->_is_settled)
	{
		$self->{stores}->tend;
		die "not settled within $SETTLE_SECONDS s:\n"
		  . ($self->{server}->query('app', 'SELECT * FROM token_ledger.status')
			  // 'the ledger does not answer')
		  . "\n"
		  if time > $deadline;
		usleep(10_000);		# sleep-ok: interval of a poll with a deadline
	}
	return;
}

sub _is_settled
{
	my ($self) = @_;
	my $settled = eval
	{
		$self->{session}->query('SELECT count(*) FROM token_ledger.status'
			  . ' WHERE lag_events = 0');
	};

	return $settled == $self->{targets}
	  if defined $settled && $settled ne '';
	$self->_reconnect;
	return 0;
}

# Prints the table; returns whether nothing was wrong.
sub report
{
	my ($self) = @_;
	my @wrong = $self->audit;
	my $list = sub {
		my ($counts) = @_;

		return join(', ', map { "$_: $counts->{$_}" } sort keys %$counts);
	};

	printf "%d seeds, %d events to each of %d targets, %d killed:"
	  . " %d lost, %d doubled\n", $self->{done}, $self->{events},
	  $self->{targets}, sum0(values %{ $self->{kills} }), $self->{lost},
	  $self->{doubled};
	print 'planned: ', $list->($self->{faults}), '; of those on a wire were met: ',
	  $self->{met}{wire} // 0, "\n";
	print 'killed: ', $list->($self->{kills}), "\n";
	print 'worst recovery, in seconds, after killing ',
	  join(', ', map { sprintf '%s: %.1f', $_, $self->{worst}{$_} }
		  sort keys %{ $self->{worst} }), "\n";
	print "WRONG: $_\n" foreach @wrong;
	return !@wrong;
}

1;
