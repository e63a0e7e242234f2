
=pod

=head1 NAME

HangingStore - a server that accepts connections and never says a word

=head1 SYNOPSIS

  use HangingStore;

  my $hang = HangingStore->new;
  set_targets($node, 'hang=postgresql://u@127.0.0.1:' . $hang->port . '/d');

await_connection waits until a client has connected that was not waited for
before, and returns whether one has.  It ends with the object.

=cut

package HangingStore;

use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::INET;

sub new
{
	my ($class) = @_;
	my $listener = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		Listen => 64) or die "could not listen: $@";
	pipe my $accepted, my $tell or die "pipe: $!";
	my $parent = $$;
	my $pid = fork // die "fork: $!";

	_serve($listener, $tell, $parent) if $pid == 0;
	return
	  bless { pid => $pid, port => $listener->sockport, accepted => $accepted },
	  $class;
}

sub port
{
	my ($self) = @_;

	return $self->{port};
}

sub await_connection
{
	my ($self, $seconds) = @_;

	return 0 unless IO::Select->new($self->{accepted})->can_read($seconds);
	return sysread $self->{accepted}, my $byte, 1;
}

# Until the parent ends.  Never returns.
sub _serve
{
	my ($listener, $tell, $parent) = @_;
	my @connections;

	local $SIG{TERM} = 'DEFAULT';
	$listener->timeout(1);
	while (getppid == $parent)
	{
		my $connection = $listener->accept;

		next unless $connection;
		push @connections, $connection;
		syswrite $tell, '.';
	}
	require POSIX;
	POSIX::_exit(0);
}

sub DESTROY
{
	my ($self) = @_;

	local ($?, $!);
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

1;
