# A psql that stays, for what is asked often.
package Torture::Session;

use strict;
use warnings FATAL => 'all';

use IPC::Open2;

our $END = 'that was all';

sub new
{
	my ($class, $server, $database) = @_;
	my $self = bless { owner => $$ }, $class;

	$self->{pid} =
	  open2($self->{out}, $self->{in}, $server->psql($database, '-f', '-'));
	return $self;
}

# What the statements print, unaligned.  NB: an error prints nothing.
sub query
{
	my ($self, $sql) = @_;
	my $output = '';

	print { $self->{in} } "$sql;\n\\echo $END\n" or die "psql: $!\n";
	$self->{in}->flush;
	while (defined(my $line = readline $self->{out}))
	{
		if ($line eq "$END\n")
		{
			chomp $output;
			return $output;
		}
		$output .= $line;
	}
	die "psql has ended; see psql.log\n";
}

sub DESTROY
{
	my ($self) = @_;

	return unless $self->{pid} && $self->{owner} == $$;
	local ($?, $!);
	close $self->{in};
	waitpid $self->{pid}, 0;
	return;
}

1;
