
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

=item bounded_torture($store, $hindrance, %options)

All of the test, for a store that torture/run knows.  hindrance: why it cannot be
here, then the test is skipped; or undef.  options: of torture/run, instead of
those of a short run; least: so many must be killed.

=back

=cut

sub bounded_torture
{
	my ($store, $hindrance, %options) = @_;
	my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;

	%options = (kills => 60, seconds => 30, least => 10, writers => 2,
		drain => 300, %options);
	$options{kills} = $ENV{TORTURE_KILLS} // $options{kills};
	$options{seconds} = $ENV{TORTURE_SECONDS} // $options{seconds};
	my @command = (
		$^X, "$FindBin::RealBin/../torture/run",
		'--store', $store,
		'--seed', $seed,
		'--dir', "$PostgreSQL::Test::Utils::tmp_check/torture",
		map { ("--$_", $options{$_}) } sort keys %options);

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
	cmp_ok($kills // 0, '>=', $options{least}, 'and enough was killed');
	return done_testing();
}

1;
