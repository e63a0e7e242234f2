# PostgreSQL's own Perl modules for tests, which the peers of other stores use.
#
# Their INIT blocks would send our output into a log.  They come too late in a
# program that runs already, which is an error from PostgreSQL 17 on: so they are
# functions here, that nobody calls.
package Torture::Pgxs;

use strict;
use warnings FATAL => 'all';

my $config = $ENV{PG_CONFIG} // 'pg_config';
my $pgxs = qx("$config" --pgxs);

chomp $pgxs;
my $modules = $pgxs =~ s{/makefiles/pgxs\.mk$}{/test/perl}r;

unshift @INC, sub {
	my (undef, $file) = @_;

	return unless $file =~ m{^PostgreSQL/} && -e "$modules/$file";
	open my $in, '<', "$modules/$file" or die "$modules/$file: $!\n";
	my $text = do { local $/; <$in> };
	close $in;
	$text =~ s/^INIT$/sub never_called/m;
	return \$text;
};

1;
