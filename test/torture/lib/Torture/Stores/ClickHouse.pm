# Tables of ClickHouse's engine, test/peers/clickhouse, as stores of the sweep.
package Torture::Stores::ClickHouse;

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t/lib";

use ClickHousePeer;
use Torture::Requests;

sub new
{
	my ($class, $dir) = @_;
	my $hindrance = clickhouse_hindrance();

	die "$hindrance\n" if $hindrance;
	mkdir "$dir/store" or die "could not create $dir/store: $!\n";
	my $peer = ClickHousePeer->new(dir => "$dir/store");

	return bless {
		peer => $peer,
		requests => Torture::Requests->new($peer, 1)
	}, $class;
}

sub upstream
{
	my ($self) = @_;

	return '127.0.0.1:' . $self->{peer}->port;
}

# NB: not compressed, so that a batch has the same length each time.
sub url
{
	my ($self, $name, $port) = @_;

	return $self->{peer}->url(
		port => $port,
		table => $name,
		ttl => 0,
		compression => 'none',
		connect_timeout => '20s');
}

sub kind
{
	return 'MergeTree';
}

sub arrived
{
	my ($self, $name) = @_;

	return split /\n/, $self->{peer}->query("SELECT event_id FROM $name");
}

# Something shall go wrong with a request for a table: what, or nothing.
sub fault
{
	my ($self, $name) = @_;
	my @kinds = $self->{requests}->kinds;
	my $kind = $kinds[ rand @kinds ];

	return $self->{requests}->plan($kind, "\\b$name\\b") ? $kind : undef;
}

# Is a request harmless that comes when its lane has long given it up?
sub fences_late
{
	return 1;
}

# Is a request kept waiting?
sub holds
{
	my ($self) = @_;

	return eval { $self->{peer}->await_hanging(1, 0) };
}

sub kill
{
	my ($self) = @_;

	$self->{peer}->kill9;
	return 1;
}

# NB: a request has its faults from its beginning, so a kill may come late.
sub tend
{
	my ($self) = @_;

	$self->{peer}->start unless $self->{peer}->running;
	return;
}

# Undoes what lasts; whoever waits goes on.
sub relent
{
	my ($self) = @_;

	$self->tend;
	eval { $self->{peer}->clear_faults; 1 }
	  or $self->{peer}->kill9->start;
	return;
}

sub stop
{
	my ($self) = @_;

	$self->{peer}->stop;
	return;
}

1;
