# A store that the command line of test/conformance/run describes.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;

my %given = map { lc(s/^CONFORMANCE_//r) => $ENV{$_} }
  grep { /^CONFORMANCE_/ } keys %ENV;

sub shell
{
	my ($command, $name) = @_;

	$command =~ s/\{name\}/$name/g;
	my $out = `$command`;

	die "$command: status $?" if $? != 0;
	return $out;
}

die "--library and --url are needed"
  unless defined $given{library} && defined $given{url};

return {
	name => $given{library},
	library => $given{library},
	exactly_once => !$given{at_least_once},
	resolve => !$given{no_resolve},
	inspect => !$given{no_inspect},
	waits => $given{waits} // 1,
	variants => [
		{
			name => 'plain',
			guarantee => 'own',
			asks => !$given{no_resolve}
		},
		$given{no_resolve} ? () : {
			name => 'asking',
			guarantee => 'per_attempt',
			asks => 1,
			options => { faulty_guarantee => 'per_attempt' }
		}
	],
	prepare => sub { shell($given{prepare}, '') if defined $given{prepare}; },
	place => sub {
		my ($node, $variant, $name) = @_;

		return $given{url} =~ s/\{name\}/$name/gr;
	},
	defined $given{watermark}
	? (watermark => sub {
			my ($node, $place, $name) = @_;

			return split /\n/, shell($given{watermark}, $name);
		})
	: (),
	ids => defined $given{ids}
	? sub {
		my ($node, $place, $name) = @_;

		return split /\n/, shell($given{ids}, $name);
	}
	: undef
};
