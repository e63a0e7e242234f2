# What the programs of this directory have in common.
package Torture::Program;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Temp;
use List::Util qw(max sum);

our @EXPORT =
  qw(set_up check_kind small_disk directory clean_up run_seed print_table);

# Of the disk that runs full; tmpfs.
our $DISK_SIZE = '384m';

# A server does not run as root.  PostgreSQL's programs are to be found.
sub set_up
{
	my ($option) = @_;

	$| = 1;
	_become_nobody($option) if $> == 0;
	return unless $ENV{PG_CONFIG};
	my $bin = `"$ENV{PG_CONFIG}" --bindir`;

	chomp $bin;
	$ENV{PATH} = "$bin:$ENV{PATH}";
	return;
}

sub _become_nobody
{
	my ($option) = @_;
	my @arguments =
	  map { ("--$_", $option->{$_}) }
	  grep { defined $option->{$_} } sort keys %$option;

	exec 'runuser', '-u', 'nobody', '--', $^X, $0, @arguments;
	die "could not run runuser: $!\n";
}

sub check_kind
{
	my ($store, @kinds) = @_;

	grep { $_ eq $store } @kinds
	  or die "--store $store: there is " . join(', ', @kinds) . "\n";
	return;
}

# A directory that is a small disk, in name spaces of our own: the program starts
# itself anew in them.  Nothing if that is not possible here.  NB: the second
# name space gives us back our own user, as a server does not run as root.
sub small_disk
{
	my @disk = (
		'unshare', '-Urm', 'sh', '-c',
		'mount -t tmpfs -o size="$1",mode=777 tmpfs /mnt || exit; shift;'
		  . ' user=$1 group=$2; shift 2;'
		  . ' exec unshare -U --map-user="$user" --map-group="$group" "$@"',
		'sh', $DISK_SIZE, $>, $) + 0);

	if (!defined $ENV{TORTURE_DISK})
	{
		local $ENV{TORTURE_DISK} = '';
		$ENV{TORTURE_DISK} = '/mnt'
		  if system('sh', '-c', '"$@" 2>/dev/null', 'sh', @disk, 'true') == 0;
		exec $ENV{TORTURE_DISK} ? @disk : (), $^X, $0, @_;
		die "could not run $0 again: $!\n";
	}
	return $ENV{TORTURE_DISK} || undef;
}

# below: of one run among several.
sub directory
{
	my ($dir, $below) = @_;

	return File::Temp::tempdir('tokenledger-torture-XXXXXX', TMPDIR => 1)
	  unless defined $dir;
	foreach my $path ($dir, defined $below ? "$dir/$below" : ())
	{
		mkdir $path
		  or ($path eq $dir && defined $below && -d $dir)
		  or die "could not create \"$path\": $!\n";
		$dir = $path;
	}
	return $dir;
}

# What was sound, and nobody asked for, is not kept.
sub clean_up
{
	my ($dir, $sound, $wanted) = @_;

	print "kept $dir\n" unless $sound;
	File::Temp::rmtree($dir) if $sound && !defined $wanted;
	return;
}

# Does something with a ledger that is made for it and stopped afterwards, also
# when it dies or is interrupted; of the class given, with the parameters given.
# Returns whether it was sound.
sub run_seed
{
	my ($option, $seed, $class, $torture, %more) = @_;
	my $dir = directory($option->{dir}, $option->{seeds} > 1 ? $seed : undef);
	my $ledger = $class->new(
		dir => $dir,
		store => $option->{store},
		seed => $seed,
		%more);
	my $parent = $$;
	my $stop = sub { $ledger->abandon if $$ == $parent };
	local @SIG{qw(INT TERM HUP)} = (sub { $stop->(); exit 130 }) x 3;
	my $sound = eval { $torture->($ledger) };

	warn "seed $seed: $@" if $@;
	$stop->();
	clean_up($dir, $sound, $option->{dir});
	return $sound ? 1 : 0;
}

# Rows of numbers; below several of them their sum, of the last two columns the
# largest one.
sub print_table
{
	my ($heads, @rows) = @_;
	my $last = $#$heads;
	my $form = join(' ', map { '%' . max(length, 8) . 's' } @$heads) . "\n";

	printf $form, @$_ foreach $heads, @rows;
	return if @rows < 2;
	printf $form, 'all', map {
		my $n = $_;
		my @numbers = map { $_->[$n] } @rows;

		$n > $last - 2 ? max(@numbers) : sum(@numbers)
	} 1 .. $last;
	return;
}

1;
