# One PostgreSQL server that expects to be killed.
package Torture::Server;

use strict;
use warnings FATAL => 'all';

use Errno qw(ESRCH);
use File::Temp;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

our $START_SECONDS = 60;

# dir: for data, log and all else; port: if it is not 5432; clock: one of its
# own.  The socket has a directory of its own, as
# its path must be short.
sub new
{
	my ($class, %self) = @_;

	$self{data} = "$self{dir}/$self{name}";
	$self{log} = "$self{dir}/$self{name}.log";
	$self{port} //= 5432;
	$self{socket} = File::Temp->newdir('tl-XXXXXX', TMPDIR => 1);
	return bless \%self, $class;
}

# files: more files of settings, by name.
sub create
{
	my ($self, $settings, %files) = @_;

	_run('initdb', '-D', $self->{data}, '-U', 'torture', '-A', 'trust',
		'--no-locale', '--encoding=UTF8')
	  or die "initdb failed, see $self->{log}\n";
	$self->configure('postgresql.conf', <<EOC . $settings);
listen_addresses = ''
unix_socket_directories = '$self->{socket}'
port = $self->{port}
log_line_prefix = '%m [%p] %b %e '
shared_buffers = 32MB
max_connections = 60
checkpoint_timeout = 30s
temp_tablespaces = 'pg_default'
restart_after_crash = on
EOC
	$self->configure($_, $files{$_}) foreach keys %files;
	$self->start;
	return;
}

# A standby of another server, at this moment.  NB: the socket's place is its own.
sub clone
{
	my ($self, $primary) = @_;

	_run('pg_basebackup', '-D', $self->{data}, '-U', 'torture', '-R', '-X',
		'stream', '-c', 'fast', '-h', "$primary->{socket}", '-p', '5432')
	  or die "pg_basebackup failed\n";
	$self->configure('postgresql.conf',
		"unix_socket_directories = '$self->{socket}'\n");
	return;
}

sub promote
{
	my ($self) = @_;

	_run('pg_ctl', '-D', $self->{data}, '-s', '-w', '-t', $START_SECONDS,
		'promote')
	  or die "server $self->{name} is not promoted\n";
	return;
}

# Appends to a file of settings, or writes one that it includes.
sub configure
{
	my ($self, $file, $text, $mode) = @_;

	open my $out, $mode // '>>', "$self->{data}/$file" or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
	return;
}

# NB: the shared memory of a killed postmaster is in use until the last of its
# children has noticed.
sub start
{
	my ($self) = @_;
	my $deadline = time + $START_SECONDS;
	local %ENV = (%ENV, $self->{clock} ? $self->{clock}->environment : ());

	until (_run('pg_ctl', '-D', $self->{data}, '-l', $self->{log}, '-s', '-w',
			'-t', $START_SECONDS, 'start'))
	{
		die "server $self->{name} does not start\n" if time > $deadline;
		usleep(100_000);	# sleep-ok: interval of a poll with a deadline
	}
	return;
}

sub stop
{
	my ($self, $mode) = @_;

	_run('pg_ctl', '-D', $self->{data}, '-s', '-w', '-m', $mode, 'stop')
	  or warn "server $self->{name} does not stop\n";
	return;
}

sub restart
{
	my ($self, $mode) = @_;

	$self->stop($mode);
	$self->start;
	return;
}

# Waits until it lets a session in.
#
# NB: a server in which somebody is killed while it recovers from the last
# killing gives up; an operator starts it again.
sub await
{
	my ($self) = @_;
	my $deadline = time + $START_SECONDS;

	until (defined $self->query('postgres', 'SELECT 1'))
	{
		die "server $self->{name} does not come back\n" if time > $deadline;
		usleep(20_000);		# sleep-ok: interval of a poll with a deadline
		$self->start unless $self->postmaster;
	}
	return;
}

# NB: also asked for by a signal that comes while something else is read.
sub postmaster
{
	my ($self) = @_;

	local $/ = "\n";
	open my $in, '<', "$self->{data}/postmaster.pid" or return 0;
	my $pid = <$in> // 0;
	close $in;
	return int $pid;
}

# Pids of the children and what each is, such as "tokenledger lane".
sub processes
{
	my ($self) = @_;
	my $parent = $self->postmaster or return ();
	my @found;

	foreach (split /\n/, `ps -A -o pid= -o ppid= -o args=`)
	{
		my ($pid, $ppid, $title) = /^\s*(\d+)\s+(\d+)\s+(.*)/ or next;

		push @found, [ $pid, $title ]
		  if $ppid == $parent && $title =~ s/^postgres: //;
	}
	return @found;
}

# One of the processes whose title matches, drawn by lot: its pid if it got the
# signal.
sub signal
{
	my ($self, $signal, $pattern) = @_;
	my @found = map { $_->[0] }
	  grep { $_->[1] =~ $pattern } $self->processes;
	my $pid = $found[ rand @found ] or return 0;

	return kill($signal, $pid) ? $pid : 0;
}

# Everything of it dies at once; it starts again.
sub crash
{
	my ($self) = @_;

	$self->kill_all;
	$self->start;
	return;
}

# SIGKILL for the postmaster and all its children, which are not given the time
# to notice.
#
# NB: one that is born meanwhile and survives may wait for ever for a lock of
# one that did not, so the postmaster is stopped first.
sub kill_all
{
	my ($self) = @_;
	my $postmaster = $self->postmaster or return;
	my @pids = ($postmaster);

	kill 'STOP', $postmaster;
	push @pids, map { $_->[0] } $self->processes;
	kill 'KILL', @pids;
	my $deadline = time + $START_SECONDS;

	while (grep { kill(0, $_) || $! != ESRCH } @pids)
	{
		die "server $self->{name} does not end\n" if time > $deadline;
		usleep(10_000);		# sleep-ok: interval of a poll with a deadline
	}
	return;
}

sub reload
{
	my ($self) = @_;
	my $postmaster = $self->postmaster;

	kill 'HUP', $postmaster if $postmaster;
	return;
}

# The query's output, unaligned; undef if it failed, for whatever reason.
sub query
{
	my ($self, $database, $sql) = @_;

	open my $psql, '-|', $self->psql($database, '-c', $sql)
	  or die "psql: $!";
	local $/ = undef;
	my $output = <$psql> // '';

	return undef unless close $psql;
	$output =~ s/\n\z//;
	return $output;
}

sub must
{
	my ($self, $database, $sql) = @_;

	return $self->query($database, $sql)
	  // die "server $self->{name}: failed: $sql; see psql.log\n";
}

# The command line of psql; what it complains of is nobody's business.
sub psql
{
	my ($self, $database, @arguments) = @_;

	return (
		'sh', '-c', 'exec psql "$@" 2>>"$0"', "$self->{dir}/psql.log",
		'-X', '-q', '-A', '-t', '-U', 'torture', '-h', "$self->{socket}",
		'-p', $self->{port}, '-d', $database, @arguments);
}

sub _run
{
	my (@command) = @_;

	return system('sh', '-c', 'exec "$0" "$@" >/dev/null 2>&1 </dev/null',
		@command) == 0;
}

1;
