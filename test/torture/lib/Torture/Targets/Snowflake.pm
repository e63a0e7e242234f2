# Targets in the double of Snowflake, test/peers/snowflake:
#
#	merge		gets a MERGE for each batch; is reached by TLS, and checks whom it
#				talks to
#	channel		by Snowpipe Streaming
#	wide		has more lanes than the others, each with a channel
#	picky		refuses some events
package Torture::Targets::Snowflake;

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t/lib";

use Torture::Pgxs;
use SnowflakePeer;
use Torture::SnowflakeRequests;

use parent 'Torture::Targets::Double';

sub modes
{
	return (
		merge => 'sql',
		channel => 'streaming',
		wide => 'streaming',
		picky => 'sql');
}

sub make_peer
{
	my ($self, $dir) = @_;
	my $hindrance = snowflake_hindrance();

	die "$hindrance\n" if $hindrance;
	my $peer = SnowflakePeer->new(dir => $dir, start => 0);

	return ($peer, Torture::SnowflakeRequests->new($peer, 3));
}

sub kinds
{
	my ($self, $mode) = @_;

	return $self->{requests}->kinds($mode);
}

sub behind_tls { return 'merge' }

sub upstream { my ($self) = @_; return $self->{peer}{port} }

# The ingest host is the one that is asked for it: also behind the wire.
sub address
{
	my ($self, $name, $port) = @_;
	my $scheme = $self->has_tls($name) ? 'https' : 'http';

	return (endpoint => "$scheme://127.0.0.1:$port");
}

1;
