
=pod

=head1 NAME

Peer - the process of a store's peer, for tests

=head1 DESCRIPTION

What BigQueryPeer, SnowflakePeer, ClickHousePeer and KafkaPeer have in common.  A
peer is a process group of its own with a directory for data and output; it keeps
both over stop, kill9 and start.  All are killed when the test ends, however it
ends.

A class has new(), which calls make(), and start(), which calls launch().  For the
faults it has admin($method, $path, $body), a request of a program in test/peers
that answers decoded JSON, and fault_numbers(), names of what is a number in a
fault.

Needs no module of PostgreSQL's: torture finds those later than this.

=cut

package Peer;

use strict;
use warnings FATAL => 'all';

use File::Temp ();
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

my $owner = $$;	# forked processes leave alone what is not theirs
my %running;	# process ids

=pod

=over

=item Class->make($name, $hindrance, %params)

An object of these params that is not started; dies if there is a hindrance.
dir: of its data (default: a new one that ends with the object).

=cut

sub make
{
	my ($class, $name, $hindrance, %params) = @_;
	my $self = bless {%params}, $class;

	die "$hindrance\n" if $hindrance;
	unless (defined $self->{dir})
	{
		$self->{own_dir} = File::Temp->newdir("${name}_XXXX", TMPDIR => 1);
		$self->{dir} = $self->{own_dir}->dirname;
	}
	return $self;
}

=pod

=item launch($seconds, $ready, @command)

Runs the command and returns the object when the function $ready returns true;
dies with what was printed if the process ends before, or does not come to that in
time.

=item spawn(@command)

Runs the command and does not wait.  settle_in() is called in the new process.

=cut

sub launch
{
	my ($self, $seconds, $ready, @command) = @_;
	my $up;

	$self->spawn(@command);
	$self->await($seconds, sub { ($up = $ready->()) || !$self->running });
	return $self if $up;
	my $why = $self->running ? "not within $seconds seconds" : 'it ended';

	$self->kill9;
	die ref($self) . " did not start: $why\n" . $self->log;
}

# In a group of its own, so that a wrapper and what it runs end together.
sub spawn
{
	my ($self, @command) = @_;

	$self->{pid} = fork // die "could not fork: $!";
	if ($self->{pid})
	{
		$running{ $self->{pid} } = 1;
		return;
	}
	setpgrp;
	$self->settle_in;
	open STDIN, '<', '/dev/null' or die "no /dev/null: $!";
	open STDOUT, '>>', "$self->{dir}/output" or die "no log: $!";
	open STDERR, '>&', \*STDOUT or die "no standard error: $!";
	exec @command or die "could not run $command[0]: $!";
}

sub settle_in { return }

=pod

=item running(), stop(timeout => $seconds), kill9(), restart(), signal($name)

stop lets what it does end; kill9 does not, and neither fails if the peer has
killed itself.  signal: STOP, CONT.

=item await_end($seconds), await($seconds, $met)

Waits until the peer has ended, as the fault "kill" makes it, or until a function
returns true; returns whether it came to that.

=item log()

What it has printed.

=cut

sub running
{
	my ($self) = @_;

	return 0 unless $self->{pid};
	local $?;
	return 1 if waitpid($self->{pid}, 1) == 0;	# WNOHANG
	delete $running{ $self->{pid} };
	$self->{pid} = 0;
	return 0;
}

sub stop
{
	my ($self, %params) = @_;

	$self->signal('TERM');
	$self->await_end($params{timeout} // 30) or $self->kill9;
	return $self;
}

sub kill9
{
	my ($self) = @_;

	$self->signal('KILL');
	$self->await_end(30);
	return $self;
}

sub restart
{
	my ($self) = @_;

	return $self->stop->start;
}

sub signal
{
	my ($self, $name) = @_;

	kill $name, -$self->{pid} if $self->running;
	return;
}

sub await_end
{
	my ($self, $seconds) = @_;

	return $self->await($seconds, sub { !$self->running });
}

sub await
{
	my ($self, $seconds, $met) = @_;
	my $deadline = time + $seconds;

	until ($met->())
	{
		return 0 if time > $deadline;
		usleep(20_000);		# sleep-ok: interval of a poll with a deadline
	}
	return 1;
}

sub log
{
	my ($self) = @_;
	my $file = "$self->{dir}/output";

	return -e $file ? slurp($file) : '';
}

=pod

=item fault(%spec), clear_faults(), faults()

Plans a fault and returns its id; forgets all faults, so that whoever hangs goes
on; lists them with how often each was met.

=item journal(%filter)

What became of every request, also before a restart: a list of references to
hashes.  Only those with these values.

=cut

sub fault
{
	my ($self, %spec) = @_;

	$spec{$_} += 0
	  foreach grep { exists $spec{$_} } $self->fault_numbers;
	return $self->admin('POST', '/_faults', \%spec)->{id};
}

sub clear_faults
{
	my ($self) = @_;

	$self->admin('DELETE', '/_faults');
	return;
}

sub faults { my ($self) = @_; return @{ $self->admin('GET', '/_faults') } }

sub journal
{
	my ($self, %filter) = @_;
	my @entries = @{ $self->admin('GET', '/_journal') };

	foreach my $field (keys %filter)
	{
		@entries =
		  grep { ($_->{$field} // '') eq $filter{$field} } @entries;
	}
	return @entries;
}

=pod

=item Peer::query_string(%parameters)

Of a URL; those that are undef are left out.

=item Peer::encoded($value), Peer::slurp($file), Peer::spew($file, $text)

A value as a part of that; a file, read and written: a secret one.

=cut

sub query_string
{
	my (%parameters) = @_;

	return join '&',
	  map { "$_=" . encoded($parameters{$_}) }
	  grep { defined $parameters{$_} } sort keys %parameters;
}

sub encoded
{
	my ($value) = @_;

	utf8::encode($value) if utf8::is_utf8($value);
	$value =~ s/([^A-Za-z0-9_.\/:-])/sprintf('%%%02X', ord $1)/ge;
	return $value;
}

sub slurp
{
	my ($file) = @_;

	open my $in, '<', $file or die "could not read $file: $!";
	local $/;
	return scalar <$in>;
}

sub spew
{
	my ($file, $text) = @_;

	open my $out, '>', $file or die "could not write $file: $!";
	chmod 0600, $file;
	print {$out} $text;
	close $out or die "could not write $file: $!";
	return;
}

sub DESTROY
{
	my ($self) = @_;

	return if ${^GLOBAL_PHASE} eq 'DESTRUCT' || $$ != $owner;
	local ($?, $!, $@);
	eval { $self->kill9; 1 } or warn $@;
	return;
}

# Also if the test dies.
END
{
	local ($?, $!);
	kill 'KILL', map { -$_ } keys %running if %running && $$ == $owner;
}

=pod

=back

=cut

1;
