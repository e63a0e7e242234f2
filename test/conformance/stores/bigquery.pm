# Backend bigquery, with the strict double: its four modes.  Of those without a
# stream of their own an answer that comes late may be a second copy, so they
# wait a second before they ask.
#
# All targets of a wave fill tables of one dataset.
use strict;
use warnings FATAL => 'all';

use BigQueryPeer;

my $peer;

return {
	name => 'bigquery',
	library => 'bigquery',
	exactly_once => 1,
	resolve => 1,
	inspect => 1,
	own_state => 1,
	waits => 2,
	seeds => 4,
	variants => [
		map +{
			name => $_,
			guarantee => 'per_attempt',
			asks => 1,
			options => { mode => $_, timeout => '60s' }
		},
		qw(committed pending default insertall)
	],
	prepare => sub {
		$peer = BigQueryPeer->new;
	},
	place => sub {
		my ($node, $variant, $name) = @_;

		return $peer->url(table => $name, expiration => 0);
	},
	watermark => sub {
		my ($node, $place) = @_;
		my ($table) = $place =~ /table=([a-z0-9_]+)/;
		my $labels = $peer->request('GET',
			"/bigquery/v2/projects/p/datasets/d/tables/$table")->{labels};

		return map { $labels->{$_} } grep { /^tokenledger_until-/ } keys %$labels;
	},
	ids => sub {
		my ($node, $place) = @_;
		my ($table) = $place =~ /table=([a-z0-9_]+)/;

		return map { $_->{event_id} } $peer->rows($table);
	}
};
