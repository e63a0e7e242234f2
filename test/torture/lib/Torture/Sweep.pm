# Connections that are reset at every position of what passes on them.
#
# A batch of two events goes to several targets at once, each behind a wire of
# its own, and each wire cuts at another position.  When every target has
# settled the batch, the next positions follow.
package Torture::Sweep;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time);

use Torture::Server;
use Torture::Session;
use Torture::Wire;

our $SETTLE_SECONDS = 120;

# What is swept: an open session's next batch, or a connection from its first
# byte on; the request or the response.
my @parts = (
	[ 'batch', 'up' ], [ 'batch', 'down' ],
	[ 'connection', 'up' ], [ 'connection', 'down' ]);

# dir, stores, seed, every (position), targets (number of them)
sub new
{
	my ($class, %self) = @_;
	my $self = bless {%self, events => 0, rows => {}}, $class;

	srand $self->{seed};
	$self->{names} = [ map { "w$_" } 1 .. $self->{targets} ];
	$self->{server} =
	  Torture::Server->new(name => 'ledger', dir => $self->{dir});
	$self->{wires}{$_} = Torture::Wire->new($self->{stores}->upstream)
	  foreach @{ $self->{names} };
	return $self;
}

sub prepare
{
	my ($self) = @_;
	my $targets = join ' ', map {
		"$_=" . $self->{stores}->url($_, $self->{wires}{$_}->port)
	} @{ $self->{names} };

	$self->{server}->create(<<EOC);
shared_preload_libraries = 'tokenledger'
max_worker_processes = 24
tokenledger.databases = 'app'
tokenledger.targets = '$targets'
tokenledger.batch_rows = 2
tokenledger.flush_interval = 0
tokenledger.retry_min = 10ms
tokenledger.retry_max = 50ms
tokenledger.timeout = 20s
EOC
	defined $self->{server}->query('postgres', 'CREATE DATABASE app')
	  && defined $self->{server}->query('app', 'CREATE EXTENSION tokenledger')
	  or die "could not create the ledger; see psql.log\n";
	$self->{session} = Torture::Session->new($self->{server}, 'app');
	$self->_insert;
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

sub stop
{
	my ($self) = @_;

	delete $self->{session};
	$self->{server}->stop('immediate') if $self->{server}->postmaster;
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
		$self->_insert;
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
	$self->_insert;
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

# NB: of the same length each time.
sub _insert
{
	my ($self) = @_;

	$self->{session}->query(<<'EOQ');
INSERT INTO token_ledger.token_ledger_events (event_id, "timestamp", provider,
	model, total_tokens, cost_usd, request_preview)
SELECT gen_random_uuid(), '2026-01-01Z', 'provider', 'model', 1000 + i, 0.25,
	'preview' FROM generate_series(1, 2) i
EOQ
	$self->{events} += 2;
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
	my @wrong = $self->_audit;

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

sub _audit
{
	my ($self) = @_;
	my @wrong;
	my $session = $self->{session};
	my %ledger = map { $_ => 1 } split /\n/,
	  $session->query('SELECT event_id FROM token_ledger.token_ledger_events');
	my $differences = $session->query(
		'SELECT * FROM token_ledger.accounting WHERE difference <> 0');
	my $dead = $session->query('SELECT count(*) FROM token_ledger.dead_letter');

	push @wrong, "the ledger has not $self->{events} events"
	  if keys %ledger != $self->{events};
	push @wrong, "the identity does not hold: $differences"
	  if $differences ne '';
	push @wrong, "$dead dead letters" if $dead ne '0';
	$self->{lost} = $self->{doubled} = 0;
	foreach my $name (@{ $self->{names} })
	{
		my %seen;

		$seen{$_}++ foreach $self->{stores}->arrived($name);
		my @doubled = grep { $seen{$_} > 1 } keys %seen;
		my @lost = grep { !$seen{$_} } keys %ledger;
		my @strange = grep { !$ledger{$_} } keys %seen;

		push @wrong, "target $name: lost @lost, doubled @doubled,"
		  . " never committed @strange"
		  if @lost + @doubled + @strange;
		$self->{lost} += @lost;
		$self->{doubled} += @doubled;
	}
	return @wrong;
}

1;
