# The double of Snowflake is as strict as its README says: tokens, requestId and
# retry, polling, partitions, and Snowpipe Streaming.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use FindBin;
use SnowflakePeer;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

my $peer = SnowflakePeer->new;
my $other = PostgreSQL::Test::Utils::tempdir();
my $output;

SnowflakePeer::make_key($other, 'other');
open my $run, '-|', $ENV{TOKENLEDGER_SNOWFLAKE_PYTHON}, '-B',
  "$FindBin::RealBin/../peers/snowflake/peer_test.py", $peer->{port},
  $peer->{key}, "$other/other.pem"
  or die "could not run peer_test.py: $!";
while (my $line = <$run>)
{
	$output .= $line;
	ok($1 eq '', $2) if $line =~ /^(not |)ok \d+ - (.*)/;
}
ok(close $run, 'peer_test.py ended');
like($output // '', qr/^1\.\.\d+$/m, 'all was tried');
done_testing();
