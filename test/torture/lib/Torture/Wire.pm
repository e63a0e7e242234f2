# The wire between a lane and its store: a process that passes bytes on, until
# it is told otherwise.
#
#	open			passes everything on
#	refuse			connections are refused, those there are reset
#	hang			accepts, and passes nothing on
#	drip			a few bytes at a time
#	cut up N		once: the next connection that the lane sends on is reset
#	cut down N		after exactly N bytes of the request, or of the response
#	hold up N		the same, but instead of a reset nothing more passes on it;
#	hold down N		the next order lets go on what waits
#	count			tells how many bytes have passed since the last order, and
#					whether the cut, or the hold, was met
#
# Bytes are counted on one connection, from the order on, so that a session that
# is open already can be cut anywhere in its next batch.  The lane sees a reset;
# the store gets what has passed, then the end of the connection: whether it
# acts on half a request is its own affair.
package Torture::Wire;

use strict;
use warnings FATAL => 'all';

use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Handle;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(AF_UNIX PF_UNSPEC SOCK_STREAM SOL_SOCKET SO_LINGER);
use Time::HiRes qw(usleep);		# sleep-ok: what drips takes its time

our $CHUNK = 65536;
our $DRIP = 200;

# upstream: the path of a socket, or host:port.
sub new
{
	my ($class, $upstream) = @_;
	my $self = bless { upstream => $upstream, owner => $$ }, $class;
	my $listener = _listen(0);

	$self->{port} = $listener->sockport;
	socketpair $self->{control}, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
	  or die "socketpair: $!";
	$self->{control}->autoflush(1);
	$self->{pid} = fork // die "fork: $!";
	if ($self->{pid} == 0)
	{
		close $self->{control};
		$SIG{$_} = 'IGNORE' foreach qw(PIPE HUP INT);
		$SIG{TERM} = 'DEFAULT';
		eval { _serve($self, $listener, $theirs); 1 } or warn $@;
		require POSIX;
		POSIX::_exit(0);
	}
	close $theirs;
	close $listener;
	return $self;
}

sub port { my ($self) = @_; return $self->{port} }

# Gives an order; returns the answer when it is in effect.
sub order
{
	my ($self, $what) = @_;
	my $control = $self->{control};

	print $control "$what\n" or die "the wire is gone: $!\n";
	my $answer = <$control> // die "the wire is gone\n";

	chomp $answer;
	return $answer;
}

# Bytes of request and response since the last order, and whether it was cut.
sub count
{
	my ($self) = @_;

	return split / /, $self->order('count');
}

sub DESTROY
{
	my ($self) = @_;

	return unless $self->{pid} && $self->{owner} == $$;
	local ($?, $!);
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

# What follows runs in the process of the wire.

sub _listen
{
	my ($port) = @_;

	return IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		LocalPort => $port,
		ReuseAddr => 1,
		Listen => 64) // die "could not listen on port $port: $!\n";
}

sub _serve
{
	my ($self, $listener, $control) = @_;

	$self->{listener} = $listener;
	$self->{theirs} = $control;
	$self->{links} = {};
	$self->_begin('open');
	while ($self->_step) { }
	return;
}

# false: whoever gave orders is gone.
sub _step
{
	my ($self) = @_;
	my ($read, $write) = ('', '');
	my @links = values %{ $self->{links} };

	vec($read, fileno $self->{theirs}, 1) = 1;
	vec($read, fileno $self->{listener}, 1) = 1 if $self->{listener};
	foreach my $flow (map { $self->_is_held($_) ? () : @{ $_->{flows} } } @links)
	{
		vec($read, fileno $flow->{from}, 1) = 1
		  if $flow->{pending} eq ''
		  && $self->{mode} ne 'hang';
		vec($write, fileno $flow->{to}, 1) = 1 if $flow->{pending} ne '';
	}
	return 1 if select($read, $write, undef, undef) < 0;

	return 0
	  if vec($read, fileno $self->{theirs}, 1) && !$self->_obey;
	$self->_accept
	  if $self->{listener} && vec($read, fileno $self->{listener}, 1);
	foreach my $link (@links)
	{
		$self->_pass($link, $read, $write) if $link->{flows};
	}
	usleep(2000) if $self->{mode} eq 'drip';	# sleep-ok: so it drips
	return 1;
}

# NB: a whole line is there, as orders are short.
sub _obey
{
	my ($self) = @_;
	my $got = sysread $self->{theirs}, my $order, 1000;

	return 0 unless $got;
	chomp $order;
	my $answer = $order eq 'count' ? $self->_count : $self->_begin($order);

	syswrite $self->{theirs}, "$answer\n";
	return 1;
}

sub _count
{
	my ($self) = @_;

	return join ' ', @{ $self->{passed} }{qw(up down)}, $self->{was_cut};
}

sub _begin
{
	my ($self, $order) = @_;

	($self->{mode}, $self->{direction}, $self->{after}) = split / /, $order;
	$self->{passed} = { up => 0, down => 0 };
	$self->{was_cut} = $self->{more} = 0;
	$self->{victim} = undef;
	if ($self->{mode} eq 'refuse')
	{
		$self->_cut($_) foreach values %{ $self->{links} };
		close $self->{listener} if $self->{listener};
		$self->{listener} = undef;
	}
	$self->{listener} //= _listen($self->{port})
	  if $self->{mode} ne 'refuse';
	return 'ok';
}

# NB: accepts also where nothing can be reached behind: that is a reset, too.
sub _accept
{
	my ($self) = @_;
	my $client = $self->{listener}->accept or return;
	my $upstream = $self->{upstream};
	my $server =
	  $upstream =~ m{^/}
	  ? IO::Socket::UNIX->new(Peer => $upstream)
	  : IO::Socket::INET->new(PeerAddr => $upstream);

	return _reset($client) unless $server;
	$_->blocking(0) foreach $client, $server;
	my $link = {
		client => $client,
		server => $server,
		flows => [
			{ name => 'up', from => $client, to => $server, pending => '' },
			{ name => 'down', from => $server, to => $client, pending => '' }
		]
	};
	$self->{links}{$link} = $link;
	return;
}

sub _reset
{
	my ($socket) = @_;

	setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
	close $socket;
	return;
}

sub _cut
{
	my ($self, $link) = @_;

	_reset($link->{client});
	close $link->{server};
	delete $self->{links}{$link};
	delete $link->{flows};
	return;
}

sub _pass
{
	my ($self, $link, $read, $write) = @_;

	foreach my $flow (@{ $link->{flows} })
	{
		my $ok = 1;

		$ok = $self->_read($link, $flow)
		  if vec($read, fileno $flow->{from}, 1) && $flow->{pending} eq '';
		$ok &&= _write($flow)
		  if $flow->{pending} ne ''
		  && ($flow->{new} || vec($write, fileno $flow->{to}, 1));
		$flow->{new} = 0;
		my $reached = $ok && $self->_is_reached($link);

		return if $reached && $self->{mode} eq 'hold';
		return $self->_cut($link) if $reached || !$ok;
	}
	return;
}

# false: the connection ends.
sub _read
{
	my ($self, $link, $flow) = @_;
	my $want = $self->{mode} eq 'drip' ? 1 + int rand $DRIP : $CHUNK;

	if ($self->_is_armed($link, $flow))
	{
		my $left = $self->{after} - $self->{passed}{ $flow->{name} };

		if ($left <= 0)
		{
			$self->{more} = 1;
			return 1;
		}
		$want = $left if $left < $want;
	}
	my $got = sysread $flow->{from}, $flow->{pending}, $want;

	return _would_block() unless defined $got;
	return 0 if $got == 0;
	$flow->{new} = 1;
	$self->_note($link, $flow, $got);
	return 1;
}

sub _has_victim
{
	my ($self) = @_;

	return $self->{mode} eq 'cut' || $self->{mode} eq 'hold';
}

sub _is_held
{
	my ($self, $link) = @_;

	return $self->{mode} eq 'hold'
	  && $self->{was_cut}
	  && $self->{victim} == $link;
}

# The connection that is cut is the first that the lane sends on.
sub _is_armed
{
	my ($self, $link, $flow) = @_;

	return 0 if !$self->_has_victim || $self->{was_cut};
	$self->{victim} //= $link if $flow->{name} eq 'up';
	return ($self->{victim} // 0) == $link
	  && $flow->{name} eq $self->{direction};
}

sub _note
{
	my ($self, $link, $flow, $got) = @_;

	$self->{victim} //= $link;
	$self->{passed}{ $flow->{name} } += $got if $self->{victim} == $link;
	return;
}

# Have the bytes passed after which it is cut, to the last?  After none: as soon
# as there are any.
sub _is_reached
{
	my ($self, $link) = @_;

	return 0
	  if !$self->_has_victim
	  || $self->{was_cut}
	  || ($self->{victim} // 0) != $link
	  || $self->{passed}{ $self->{direction} } < $self->{after}
	  || ($self->{after} == 0 && !$self->{more})
	  || grep { $_->{name} eq $self->{direction} && $_->{pending} ne '' }
	  @{ $link->{flows} };
	return $self->{was_cut} = 1;
}

sub _write
{
	my ($flow) = @_;
	my $put = syswrite $flow->{to}, $flow->{pending};

	return _would_block() unless defined $put;
	substr $flow->{pending}, 0, $put, '';
	return 1;
}

sub _would_block
{
	return $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
}

1;
