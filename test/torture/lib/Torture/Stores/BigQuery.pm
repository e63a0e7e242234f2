# Tables of the double of BigQuery, test/peers/bigquery, as stores of the sweep: one
# after the other has each mode.  What is cut is the connection by which rows go.
package Torture::Stores::BigQuery;

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t/lib";

use Torture::Pgxs;
use BigQueryPeer;
use Torture::BigQueryRequests;

my @modes = qw(committed pending default insertall);

sub new
{
	my ($class, $dir) = @_;
	my $hindrance = bigquery_hindrance();

	die "$hindrance\n" if $hindrance;
	mkdir "$dir/store" or die "could not create $dir/store: $!\n";
	my $peer = BigQueryPeer->new(dir => "$dir/store");

	return bless {
		peer => $peer,
		requests => Torture::BigQueryRequests->new($peer, 1)
	}, $class;
}

sub kind
{
	my ($self, $name) = @_;

	return $modes[ ($name =~ s/\D//gr - 1) % @modes ];
}

# Of insertAll, which is REST, another one than of the others.
sub upstream
{
	my ($self, $name) = @_;
	my $port = $self->kind($name) eq 'insertall' ? 'port' : 'grpc_port';

	return "127.0.0.1:$self->{peer}{$port}";
}

sub url
{
	my ($self, $name, $port) = @_;
	my $mode = $self->kind($name);
	my $endpoint = $mode eq 'insertall' ? 'endpoint' : 'grpc_endpoint';

	return $self->{peer}->url(
		$endpoint => "http://127.0.0.1:$port",
		mode => $mode,
		table => $name,
		expiration => 0,
		connect_timeout => '20s');
}

sub arrived
{
	my ($self, $name) = @_;

	return map { $_->{event_id} } $self->{peer}->rows($name);
}

# Something shall go wrong with a request like those for a table: what, or nothing.
sub fault
{
	my ($self, $name) = @_;
	my @kinds = $self->{requests}->kinds;
	my $kind = $kinds[ rand @kinds ];

	return $self->{requests}->plan($kind, $self->kind($name)) ? $kind : undef;
}

# Rows of a stream that is finalized come too late; the modes without a stream of
# their own have no fence.
sub fences_late
{
	my ($self, $name) = @_;

	return $self->kind($name) =~ /^(committed|pending)$/;
}

# Is a request kept waiting?
sub holds
{
	my ($self) = @_;

	return eval { scalar grep { $_->{hanging} } $self->{peer}->faults };
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
	$self->{requests}->relent or $self->{peer}->kill9->start;
	return;
}

sub stop
{
	my ($self) = @_;

	$self->{peer}->stop;
	return;
}

1;
