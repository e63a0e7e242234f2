# Backend null: nothing to ask, so only the protocol is judged.
use strict;
use warnings FATAL => 'all';

return {
	name => 'null',
	library => 'null',
	exactly_once => 0,
	resolve => 0,
	inspect => 0,
	waits => 0,
	seeds => 8,
	watermark => undef,
	variants => [ { name => 'null', guarantee => 'per_event' } ],
	place => sub {
		my ($node, $variant, $name) = @_;

		return "null:///$name";
	}
};
