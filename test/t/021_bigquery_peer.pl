# The double that stands for BigQuery, tried without the project: Google's own
# client of the Storage Write API must accept it in every mode, and find the
# errors it looks for.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();

my $program = "$ENV{TOKENLEDGER_BIGQUERY_PEER}.test";
my ($out, $err) = run_command([ $program, '-test.v' ]);
my %result;
$result{$2} = $1 while $out =~ /^\s*--- (PASS|FAIL|SKIP): (\w+)/mg;

my %named = map { $_ => 1 }
  qw(TestDefault TestCommitted TestOffsets TestPending TestBuffered TestErrors TestRestart);

is($result{$_} // 'missing', 'PASS', "managedwriter: $_") foreach sort keys %named;
is(join(' ', grep { !$named{$_} } sort keys %result), '', 'no other test')
  || diag("$out$err");
done_testing();
