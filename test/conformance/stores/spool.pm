# The example backend: a file, which may get events twice but loses none.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;

return {
	name => 'spool',
	library => 'spool',
	exactly_once => 0,
	resolve => 0,
	inspect => 0,
	waits => 0,
	seeds => 8,
	watermark => undef,
	variants => [ { name => 'file', guarantee => 'per_attempt' } ],
	place => sub {
		my ($node, $variant, $name) = @_;

		return 'spool:///?path=' . $node->basedir . "/$name.spool";
	},
	ids => sub {
		my ($node, $place) = @_;
		my ($path) = $place =~ /path=(.*)/;

		return map { (split /,/)[0] } split /\n/, slurp_file($path);
	}
};
