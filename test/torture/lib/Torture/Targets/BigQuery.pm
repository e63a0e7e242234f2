# Targets in the double of BigQuery, test/peers/bigquery.  What their wires cut is
# the Storage Write API.
#
#	committed	has a stream for each lane
#	pending		one for each batch
#	wide		has more lanes than the others
#	picky		refuses some events
#
# Modes without a stream of their own have no fence for requests that come late,
# so that torture would double events: test/torture/steps tries them without that.
package Torture::Targets::BigQuery;

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t/lib";

use Torture::Pgxs;
use BigQueryPeer;
use Torture::BigQueryRequests;

use parent 'Torture::Targets::Double';

sub modes
{
	return (
		committed => 'committed',
		pending => 'pending',
		wide => 'committed',
		picky => 'committed');
}

sub make_peer
{
	my ($self, $dir) = @_;
	my $hindrance = bigquery_hindrance();

	die "$hindrance\n" if $hindrance;
	my $peer = BigQueryPeer->new(
		dir => $dir,
		own_look_ups => 1,
		start => 0);

	return ($peer, Torture::BigQueryRequests->new($peer, 3));
}

sub kinds { my ($self) = @_; return $self->{requests}->kinds }

sub behind_tls { return undef }

sub upstream { my ($self) = @_; return $self->{peer}{grpc_port} }

sub address
{
	my ($self, $name, $port) = @_;

	return (
		grpc_endpoint => "http://127.0.0.1:$port",
		expiration => 0);
}

1;
