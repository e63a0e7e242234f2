# Backend kafka with a real broker, without transactions: an event may be there
# twice, with the same key.
use strict;
use warnings FATAL => 'all';

use KafkaPeer;

my $broker;

return {
	name => 'kafka',
	library => 'kafka',
	exactly_once => 0,
	resolve => 0,
	inspect => 1,
	waits => 1,
	seeds => 6,
	watermark => undef,
	variants => [ { name => 'plain', guarantee => 'per_attempt' } ],
	prepare => sub { $broker = KafkaPeer->new },
	place => sub {
		my ($node, $variant, $name) = @_;

		return $broker->url($name, partitions => 2) =~ s/^tokenledger\+//r;
	},
	ids => sub {
		my ($node, $place) = @_;
		my ($topic) = $place =~ m{/([A-Za-z0-9_]+)\?};

		return map { $_->{key} } $broker->messages($topic);
	}
};
