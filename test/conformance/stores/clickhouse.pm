# Backend clickhouse: a plain MergeTree, which may know a token without its
# rows, so that the store is always asked.
#
# All targets of a wave fill tables of one server.
use strict;
use warnings FATAL => 'all';

use ClickHousePeer;

my $peer;

return {
	name => 'clickhouse',
	library => 'clickhouse',
	exactly_once => 1,
	resolve => 1,
	inspect => 1,
	versions => [ 100, 103 ],
	waits => 2,
	seeds => 10,
	variants => [ { name => 'table', guarantee => 'per_attempt', asks => 1 } ],
	prepare => sub {
		$peer = ClickHousePeer->new;
		$peer->query('CREATE DATABASE conformance');
	},
	place => sub {
		my ($node, $variant, $name) = @_;

		return $peer->url(
			database => 'conformance',
			table => $name,
			ttl => 0);
	},
	watermark => sub {
		my ($node, $place) = @_;
		my ($table) = $place =~ /table=([a-z0-9_]+)/;

		return split /\n/,
		  $peer->query('SELECT toUnixTimestamp64Micro(max(complete_until))'
			  . " FROM conformance.${table}_watermark GROUP BY ledger_id");
	},
	ids => sub {
		my ($node, $place) = @_;
		my ($table) = $place =~ /table=([a-z0-9_]+)/;

		return split /\n/,
		  $peer->query("SELECT event_id FROM conformance.$table");
	}
};
