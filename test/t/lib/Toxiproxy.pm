
=pod

=head1 NAME

Toxiproxy - a proxy that cuts, delays and thins out connections

=head1 SYNOPSIS

  use Toxiproxy;

  plan skip_all => toxiproxy_hindrance() if toxiproxy_hindrance();
  my $proxy = Toxiproxy->new('127.0.0.1', $store->port);
  set_targets($node, 'warehouse=' . $store->url(port => $proxy->port));
  my $toxic = $proxy->add('limit_data', downstream => 1, bytes => 10);
  $proxy->remove($toxic);

=head1 DESCRIPTION

A process of toxiproxy for each proxy.  All end with the test.

=cut

package Toxiproxy;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP ();
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

our @EXPORT = qw(toxiproxy_hindrance);

my $owner = $$;	# forked processes leave alone what is not theirs
my %running;	# process ids

=pod

=over

=item toxiproxy_hindrance()

Why there can be no proxy here; undef if there can be one.

=cut

sub toxiproxy_hindrance
{
	my $program = $ENV{TOKENLEDGER_TOXIPROXY} // '';

	return 'no toxiproxy: '
	  . ($ENV{TOKENLEDGER_TOXIPROXY_MISSING}
		  || 'TOKENLEDGER_TOXIPROXY is not set')
	  if $program eq '';
	return "toxiproxy, $program, cannot be run" unless -x $program;
	return undef;
}

=pod

=item Toxiproxy->new($host, $port)

A running proxy to that address, without any toxic.

=item port(), stop()

Where it listens on 127.0.0.1.

=cut

sub new
{
	my ($class, $host, $port) = @_;
	my $self = bless { upstream => "$host:$port" }, $class;

	foreach my $attempt (1 .. 5)
	{
		return $self if $self->_start;
		$self->stop;
	}
	die "toxiproxy did not start\n";
}

# Someone else may take a port between the question and the start.
sub _start
{
	my ($self) = @_;
	my ($api, $port) = _free_ports(2);
	my $deadline = time + 30;

	$self->{api} = "http://127.0.0.1:$api";
	$self->{port} = $port;
	$self->{pid} = _spawn($api);
	$running{ $self->{pid} } = 1;
	until (eval { $self->_call('GET', '/version'); 1 })
	{
		return 0 if time > $deadline || waitpid($self->{pid}, 1) != 0;
		usleep(20_000);		# sleep-ok: interval of a poll with a deadline
	}
	return eval
	{
		$self->_call(
			'POST',
			'/proxies',
			{
				name => 'p',
				listen => "127.0.0.1:$port",
				upstream => $self->{upstream}
			});
		1;
	};
}

sub _free_ports
{
	my ($n) = @_;
	my @sockets =
	  map { IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) }
	  1 .. $n;

	return map { $_->sockport } @sockets;
}

sub _spawn
{
	my ($port) = @_;
	my $pid = fork // die "could not fork: $!";

	return $pid if $pid;
	open STDIN, '<', '/dev/null' or die "no /dev/null: $!";
	open STDOUT, '>', '/dev/null' or die "no /dev/null: $!";
	open STDERR, '>&', \*STDOUT or die "no standard error: $!";
	exec $ENV{TOKENLEDGER_TOXIPROXY}, '-host', '127.0.0.1', '-port', $port
	  or die "could not run toxiproxy: $!";
}

sub port { my ($self) = @_; return $self->{port} }

sub stop
{
	my ($self) = @_;

	return unless $self->{pid};
	local ($?, $!);
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $running{ delete $self->{pid} };
	return;
}

=pod

=item add($type, %params)

Adds a toxic and returns its name.  upstream => 1: to what the client sends;
otherwise, or with downstream => 1, to what it gets.  toxicity: the share of
connections that get it (default 1).  The others are the toxic's own:

  limit_data  bytes                        ends the connection after so many
  reset_peer  timeout (ms)                 resets it after the time
  timeout     timeout (ms)                 lets nothing through, then ends it
  latency     latency, jitter (ms)         delays
  bandwidth   rate (KB/s)                  slows down
  slicer      average_size, size_variation (bytes), delay (us)   cuts up
  slow_close  delay (ms)                   closes late

A connection that is open gets it, too.

=item remove($name), clear()

Takes away a toxic, or all; a proxy that was off is on again after clear.

=item off(), on()

Refuses connections and ends those that are open; and back.

=cut

sub add
{
	my ($self, $type, %params) = @_;
	my $stream = delete $params{upstream} ? 'upstream' : 'downstream';
	my $toxicity = delete $params{toxicity} // 1;
	my $name = $type . '_' . ++$self->{toxics};

	delete $params{downstream};
	$self->_call(
		'POST',
		'/proxies/p/toxics',
		{
			name => $name,
			type => $type,
			stream => $stream,
			toxicity => $toxicity + 0,
			attributes => { map { $_ => $params{$_} + 0 } keys %params }
		});
	return $name;
}

sub remove
{
	my ($self, $name) = @_;

	$self->_call('DELETE', "/proxies/p/toxics/$name");
	return;
}

sub clear
{
	my ($self) = @_;

	$self->_call('POST', '/reset');
	return;
}

sub off
{
	my ($self) = @_;

	$self->_call('POST', '/proxies/p', { enabled => JSON::PP::false() });
	return;
}

sub on
{
	my ($self) = @_;

	$self->_call('POST', '/proxies/p', { enabled => JSON::PP::true() });
	return;
}

sub _call
{
	my ($self, $method, $path, $what) = @_;
	my $answer =
	  HTTP::Tiny->new(keep_alive => 0, timeout => 60)->request(
		$method,
		"$self->{api}$path",
		defined $what
		? {
			content => JSON::PP::encode_json($what),
			headers => { 'Content-Type' => 'application/json' }
		  }
		: {});

	die "toxiproxy: $method $path: $answer->{status} $answer->{content}\n"
	  unless $answer->{success};
	return $answer->{content};
}

sub DESTROY
{
	my ($self) = @_;

	return if ${^GLOBAL_PHASE} eq 'DESTRUCT' || $$ != $owner;
	$self->stop;
	return;
}

# Also if the test dies.
END
{
	local ($?, $!);
	kill 'KILL', keys %running if %running && $$ == $owner;
}

=pod

=back

=cut

1;
