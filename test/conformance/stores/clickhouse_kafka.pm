# Backend clickhouse-kafka with a real broker and ClickHouse's engine, whose own
# reader moves the topic into the table.
#
# How a batch is sent is the code of backend kafka, which has a suite of its own.
# What differs is tried here: copies that the table makes one, versions, the look
# at the store, and what is refused.  Each target is a reader of its own in the
# engine, with threads, so there are no more.
use strict;
use warnings FATAL => 'all';

use ClickHousePeer;
use KafkaPeer;

my ($broker, $peer);

return {
	name => 'clickhouse_kafka',
	library => 'clickhouse-kafka',
	exactly_once => 1,
	resolve => 0,
	inspect => 1,
	versions => [ 100, 103 ],
	waits => 1,
	seeds => 2,
	only => qr/^(?:unknown_after|refuse_named|exit|overlap|inspect|other_version
		|new_version|versions.*)$/x,
	watermark => undef,
	variants => [ { name => 'road', guarantee => 'per_event' } ],
	prepare => sub {
		$broker = KafkaPeer->new;
		$peer = ClickHousePeer->new;
		$peer->query('CREATE DATABASE conformance');
	},
	place => sub {
		my ($node, $variant, $name) = @_;

		return $broker->url(
			$name,
			partitions => 2,
			table => $name,
			clickhouse => "http://127.0.0.1:$peer->{port}/conformance",
			clickhouse_flush_interval => '200ms',
			ttl => 0) =~ s/^tokenledger\+kafka/clickhouse-kafka/r;
	},
	# The reader comes behind: what the topic has must arrive.
	ids => sub {
		my ($node, $place, $name) = @_;
		my %keys = map { $_->{key} => 1 } $broker->messages($name);
		my @ids;

		$broker->await(120, sub {
				@ids = split /\n/,
				  $peer->query("SELECT event_id FROM conformance.$name FINAL");
				return @ids >= keys %keys;
			});
		return @ids;
	}
};
