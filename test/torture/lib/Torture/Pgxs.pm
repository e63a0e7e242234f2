# Where PostgreSQL's own Perl modules for tests are, which the peers of other
# stores use.
package Torture::Pgxs;

use strict;
use warnings FATAL => 'all';

my $config = $ENV{PG_CONFIG} // 'pg_config';
my $pgxs = qx("$config" --pgxs);

chomp $pgxs;
unshift @INC, $pgxs =~ s{/makefiles/pgxs\.mk$}{/test/perl}r;

1;
