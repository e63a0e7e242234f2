# Tables of the double of Snowflake, test/peers/snowflake, as stores of the sweep:
# those with an odd number get a MERGE for each batch, the others have channels of
# Snowpipe Streaming.
package Torture::Stores::Snowflake;

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t/lib";

use Torture::Pgxs;
use SnowflakePeer;
use Torture::SnowflakeRequests;

sub new
{
	my ($class, $dir) = @_;
	my $hindrance = snowflake_hindrance();

	die "$hindrance\n" if $hindrance;
	mkdir "$dir/store" or die "could not create $dir/store: $!\n";
	my $peer = SnowflakePeer->new(dir => "$dir/store");

	return bless {
		peer => $peer,
		requests => Torture::SnowflakeRequests->new($peer, 1)
	}, $class;
}

sub upstream
{
	my ($self) = @_;

	return "127.0.0.1:$self->{peer}{port}";
}

# The ingest host is the one that is asked for it: also behind the wire.
sub url
{
	my ($self, $name, $port) = @_;

	return $self->{peer}->url(
		endpoint => "http://127.0.0.1:$port",
		table => $name,
		mode => _mode($name),
		connect_timeout => '20s');
}

sub _mode
{
	my ($name) = @_;

	return $name =~ /[13579]$/ ? 'sql' : 'streaming';
}

sub kind
{
	my ($self, $name) = @_;

	return _mode($name);
}

sub arrived
{
	my ($self, $name) = @_;

	return map { $_->{event_id} } $self->{peer}->rows($name);
}

# Something shall go wrong with a request for a table: what, or nothing.
sub fault
{
	my ($self, $name) = @_;
	my $mode = _mode($name);
	my @kinds = $self->{requests}->kinds($mode);
	my $kind = $kinds[ rand @kinds ];

	return $self->{requests}->plan($kind, $mode, $name) ? $kind : undef;
}

# A MERGE finds what is there, also a late one; a late append has a continuation
# token that is no longer taken.
sub fences_late
{
	return 1;
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
