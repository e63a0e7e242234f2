# Backend kafka with a real broker and transactions: who reads what is committed
# finds each event once.
use strict;
use warnings FATAL => 'all';

use KafkaPeer;

my $broker;

return {
	name => 'kafka_transactional',
	library => 'kafka',
	exactly_once => 1,
	resolve => 1,
	inspect => 1,
	own_state => 1,
	waits => 2,
	seeds => 6,
	watermark => undef,
	variants => [
		{
			name => 'txn',
			guarantee => 'per_attempt',
			asks => 1,
			options => { transactional => 'on', faulty_atomic => 'on' }
		}
	],
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
