# A ledger whose targets lie each behind a wire of its own, for small batches
# that something happens to: Torture::Sweep and Torture::Steps.
package Torture::Batches;

use strict;
use warnings FATAL => 'all';

use Torture::Server;
use Torture::Session;
use Torture::Wire;

# dir, stores, seed, targets (number of them)
sub new
{
	my ($class, %self) = @_;
	my $self = bless {%self, events => 0}, $class;

	srand $self->{seed};
	$self->{names} = [ map { "w$_" } 1 .. $self->{targets} ];
	$self->{server} =
	  Torture::Server->new(name => 'ledger', dir => $self->{dir});
	$self->{wires}{$_} = Torture::Wire->new($self->{stores}->upstream($_))
	  foreach @{ $self->{names} };
	return $self;
}

# With more settings.
sub create
{
	my ($self, $settings) = @_;
	my $targets = join ' ', map {
		"$_=" . $self->{stores}->url($_, $self->{wires}{$_}->port)
	} @{ $self->{names} };

	$self->{server}->create(<<EOC . $settings);
shared_preload_libraries = 'tokenledger'
max_worker_processes = 24
tokenledger.databases = 'app'
tokenledger.targets = '$targets'
tokenledger.flush_interval = 0
tokenledger.retry_min = 10ms
tokenledger.retry_max = 50ms
EOC
	defined $self->{server}->query('postgres', 'CREATE DATABASE app')
	  && defined $self->{server}->query('app', 'CREATE EXTENSION tokenledger')
	  or die "could not create the ledger; see psql.log\n";
	$self->{session} = Torture::Session->new($self->{server}, 'app');
	return;
}

# NB: of the same length each time; and psql goes on after an error, also after
# that of a connection whose end it notices while it writes.
sub insert
{
	my ($self, $n) = @_;
	my $inserted = $self->{session}->query(<<EOQ);
WITH inserted AS (
	INSERT INTO token_ledger.token_ledger_events (event_id, "timestamp",
		provider, model, total_tokens, cost_usd, request_preview)
	SELECT gen_random_uuid(), '2026-01-01Z', 'provider', 'model', 1000 + i,
		0.25, 'preview' FROM generate_series(1, $n) i
	RETURNING event_id)
SELECT count(*) FROM inserted
EOQ
	die "nothing was inserted; see psql.log\n" unless $inserted eq $n;
	$self->{events} += $n;
	return;
}

sub stop
{
	my ($self) = @_;

	delete $self->{session};
	$self->{server}->stop('immediate') if $self->{server}->postmaster;
	return;
}

# What is wrong, in words; counts what is lost or doubled.
sub audit
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
