# Connections that are reset at every position of what passes on them.
#
# A batch of two events goes to several targets at once, each behind a wire of
# its own, and each wire cuts at another position.  When every target has
# settled the batch, the next positions follow.
package Torture::Sweep;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time);

use parent 'Torture::Batches';

our $SETTLE_SECONDS = 120;

# What is swept: an open session's next batch, or a connection from its first
# byte on; the request or the response.
my @parts = (
	[ 'batch', 'up' ], [ 'batch', 'down' ],
	[ 'connection', 'up' ], [ 'connection', 'down' ]);

# As of Torture::Batches, and: every (position)
sub new
{
	my ($class, %self) = @_;

	return $class->SUPER::new(%self, rows => {});
}

sub prepare
{
	my ($self) = @_;

	$self->create(<<'EOC');
tokenledger.batch_rows = 2
tokenledger.timeout = 20s
EOC
	$self->insert(2);
	$self->_await;
	$self->{kind}{$_} = $self->{stores}->kind($_) foreach @{ $self->{names} };
	return;
}

# Every kind of table gets every position of every part.
sub sweep
{
	my ($self) = @_;
	my %names;

	push @{ $names{ $self->{kind}{$_} } }, $_ foreach @{ $self->{names} };
	foreach my $part (@parts)
	{
		$self->_cut_all(@$part, \%names);
	}
	return;
}

sub _cut_all
{
	my ($self, $what, $direction, $names) = @_;
	my %left;

	foreach my $kind (keys %$names)
	{
		my $bytes = $self->_measure($what, $direction, $names->{$kind}[0]);
		my $first = int rand $self->{every};

		$left{$kind} = [ grep { ($_ + $first) % $self->{every} == 0 }
			  0 .. $bytes ];
		$self->{bytes}{"$what $direction $kind"} = $bytes;
	}
	while (grep { @$_ } values %left)
	{
		my %cuts;

		foreach my $kind (keys %$names)
		{
			foreach my $name (@{ $names->{$kind} })
			{
				my $position = shift @{ $left{$kind} } // last;

				$cuts{$name} = $position;
			}
		}
		$self->_cut($what, $direction, \%cuts);
	}
	return;
}

# How many bytes are there?
sub _measure
{
	my ($self, $what, $direction, $name) = @_;
	my $most = 0;

	foreach (1 .. 3)
	{
		my $wire = $self->{wires}{$name};

		$wire->order('refuse') if $what eq 'connection';
		$wire->order('open');
		$self->insert(2);
		$self->_await;
		my ($up, $down) = $wire->count;
		my $bytes = $direction eq 'up' ? $up : $down;

		$most = $bytes if $bytes > $most;
	}
	return $most;
}

sub _cut
{
	my ($self, $what, $direction, $cuts) = @_;

	while (my ($name, $position) = each %$cuts)
	{
		my $wire = $self->{wires}{$name};

		$wire->order('refuse') if $what eq 'connection';
		$wire->order("cut $direction $position");
	}
	$self->insert(2);
	my $seconds = $self->_await;

	foreach my $name (keys %$cuts)
	{
		my $row = $self->{rows}{"$what $direction $self->{kind}{$name}"} //=
		  { positions => 0, cut => 0, seconds => 0 };

		$row->{positions}++;
		$row->{cut} += ($self->{wires}{$name}->count)[2];
		$row->{seconds} = $seconds if $seconds > $row->{seconds};
		$self->{wires}{$name}->order('open');
	}
	return;
}

# Seconds until every target has settled.
sub _await
{
	my ($self) = @_;
	my $begun = time;
	my $names = join ', ', map { "'$_'" } @{ $self->{names} };

	$self->{session}->query(<<EOQ) eq 't'
SELECT bool_and(token_ledger.flush(name, '$SETTLE_SECONDS s'))
FROM unnest(ARRAY[$names]) name
EOQ
	  or die "not settled within $SETTLE_SECONDS s:\n"
	  . $self->{session}->query('SELECT * FROM token_ledger.status') . "\n";
	return time - $begun;
}

# Prints the table; returns whether nothing was wrong.
sub report
{
	my ($self) = @_;
	my @wrong = $self->audit;

	printf "%-12s %-9s %-14s %6s %10s %6s %12s\n", 'of a', 'which is',
	  'table', 'bytes', 'positions', 'cuts', 'worst, s';
	foreach my $key (sort keys %{ $self->{rows} })
	{
		my ($what, $direction, $kind) = split / /, $key, 3;
		my $row = $self->{rows}{$key};

		printf "%-12s %-9s %-14s %6d %10d %6d %12.2f\n", $what,
		  $direction eq 'up' ? 'request' : 'response', $kind,
		  $self->{bytes}{$key}, @{$row}{qw(positions cut seconds)};
	}
	print "$self->{events} events to $self->{targets} targets:"
	  . " $self->{lost} lost, $self->{doubled} doubled\n";
	print "WRONG: $_\n" foreach @wrong;
	return !@wrong;
}

1;
