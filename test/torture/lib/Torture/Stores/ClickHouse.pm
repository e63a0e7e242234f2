# Tables of ClickHouse's engine, test/peers/clickhouse, as stores of the sweep.
package Torture::Stores::ClickHouse;

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t/lib";

use ClickHousePeer;

sub new
{
	my ($class, $dir) = @_;
	my $hindrance = clickhouse_hindrance();

	die "$hindrance\n" if $hindrance;
	mkdir "$dir/store" or die "could not create $dir/store: $!\n";
	return bless { peer => ClickHousePeer->new(dir => "$dir/store") }, $class;
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

sub stop
{
	my ($self) = @_;

	$self->{peer}->stop;
	return;
}

1;
