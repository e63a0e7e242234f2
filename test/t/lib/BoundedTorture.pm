
=pod

=head1 NAME

BoundedTorture - a bounded part of test/torture/run, as a test

=head1 SYNOPSIS

  use BoundedTorture;

  bounded_torture('clickhouse', clickhouse_hindrance());

=head1 DESCRIPTION

The environment's TORTURE_SEED, TORTURE_KILLS and TORTURE_SECONDS make it
another one.

=cut

package BoundedTorture;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(bounded_torture);

=pod

=over

=item bounded_torture($store, $hindrance)

All of the test, for a store that torture/run knows.  hindrance: why it cannot be
here, then the test is skipped; or undef.

=back

=cut

sub bounded_torture
{
	my ($store, $hindrance) = @_;
	my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;
	my @command = (
		$^X, "$FindBin::RealBin/../torture/run",
		'--store', $store,
		'--seed', $seed,
		'--kills', $ENV{TORTURE_KILLS} // 60,
		'--seconds', $ENV{TORTURE_SECONDS} // 30,
		'--least', 10,
		'--writers', 2,
		'--drain', 300,
		'--dir', "$PostgreSQL::Test::Utils::tmp_check/torture");

	plan skip_all => $hindrance if defined $hindrance;
	delete local $ENV{PG_CONFIG};
	open my $run, '-|', @command or die "$command[1]: $!";
	my @said = <$run>;
	my $sound = close $run;

	diag("seed $seed");
	note(@said);
	ok($sound, 'nothing was lost and nothing doubled') or diag(@said);
	my ($caused) = grep { /caused: / } @said;
	my ($kills) = ($caused // '') =~ /caused: (\d+) kills/;
	cmp_ok($kills // 0, '>=', 10, 'and something was killed');
	return done_testing();
}

1;
