# A clock of a server's own, clock.c, which jumps.
package Torture::Clock;

use strict;
use warnings FATAL => 'all';

use FindBin;

# In a new directory.  undef: nothing can be compiled here.
sub new
{
	my ($class, $dir) = @_;
	my $self = bless { dir => $dir, offset => 0 }, $class;

	mkdir $dir or die "could not create $dir: $!\n";
	return undef
	  if system('sh', '-c', 'exec "$@" >"$0" 2>&1', "$dir/log",
		$ENV{CC} // 'cc', '-shared', '-fPIC', '-O', '-o', "$dir/clock.so",
		"$FindBin::RealBin/clock.c") != 0;
	$self->set(0);
	return $self;
}

# For the command that starts the server.
sub environment
{
	my ($self) = @_;

	return (
		LD_PRELOAD => "$self->{dir}/clock.so",
		TORTURE_CLOCK => "$self->{dir}/offset");
}

# Seconds before or behind the real one.  NB: the file stays the same one.
sub set
{
	my ($self, $offset) = @_;
	my $file = "$self->{dir}/offset";

	open my $out, -e $file ? '+<' : '>', $file or die "$file: $!\n";
	syswrite $out, pack 'q', $offset or die "$file: $!\n";
	close $out;
	return;
}

# Seconds to days, in either direction, or right again.
sub jump
{
	my ($self) = @_;
	my $offset = int 10 ** (rand() * 6);

	$self->set((0, $offset, -$offset)[ rand 3 ]);
	return;
}

1;
