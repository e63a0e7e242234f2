# Tables of the double of BigQuery, test/peers/bigquery, as stores of the sweep:
# what is cut is the Storage Write API's connection.
package Torture::Stores::BigQuery;

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t/lib";

use BigQueryPeer;

sub new
{
	my ($class, $dir) = @_;
	my $hindrance = bigquery_hindrance();

	die "$hindrance\n" if $hindrance;
	mkdir "$dir/store" or die "could not create $dir/store: $!\n";
	return bless { peer => BigQueryPeer->new(dir => "$dir/store") }, $class;
}

sub upstream
{
	my ($self) = @_;

	return "127.0.0.1:$self->{peer}{grpc_port}";
}

sub url
{
	my ($self, $name, $port) = @_;

	return $self->{peer}->url(
		grpc_endpoint => "http://127.0.0.1:$port",
		table => $name,
		expiration => 0,
		connect_timeout => '20s');
}

sub kind
{
	return 'committed streams';
}

sub arrived
{
	my ($self, $name) = @_;

	return map { $_->{event_id} } $self->{peer}->rows($name);
}

sub stop
{
	my ($self) = @_;

	$self->{peer}->stop;
	return;
}

1;
