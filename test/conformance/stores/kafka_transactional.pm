# Backend kafka with transactions and a real broker: a batch is there as a whole,
# and may be there twice, with the same keys.
use strict;
use warnings FATAL => 'all';

use KafkaPeer;

my $broker;

return {
	name => 'kafka_transactional',
	library => 'kafka',
	exactly_once => 0,
	resolve => 0,
	inspect => 1,
	waits => 2,
	seeds => 4,
	variants =>
	  [ { name => 'whole', guarantee => 'per_attempt' } ],
	prepare => sub { $broker = KafkaPeer->new },
	place => sub {
		my ($node, $variant, $name) = @_;

		return $broker->url($name, partitions => 2, transactional => 'on') =~
		  s/^tokenledger\+//r;
	},
	ids => sub {
		my ($node, $place) = @_;
		my ($topic) = $place =~ m{/([A-Za-z0-9_]+)\?};

		return map { $_->{key} } $broker->messages($topic);
	}
};
