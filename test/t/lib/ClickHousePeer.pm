
=pod

=head1 NAME

ClickHousePeer - ClickHouse's engine behind its HTTP interface, for tests

=head1 SYNOPSIS

  use ClickHousePeer;

  plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();
  my $store = ClickHousePeer->new;
  set_targets($node, 'warehouse=' . $store->url(ttl => 0));
  $store->fault(point => 'committed', action => 'rst', nth => 3);
  is($store->query('SELECT count() FROM token_ledger_events'), '1000');

=head1 DESCRIPTION

Starts test/peers/clickhouse/server.py; its README lists what is real, what is
imitated, and the faults.  A peer keeps port and data over stop, kill9 and
start.  All are killed when the test ends, however it ends.

=cut

package ClickHousePeer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use File::Temp ();
use HTTP::Tiny;
use JSON::PP ();
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

our @EXPORT = qw(clickhouse_hindrance strace_hindrance);

my $SERVER = dirname(__FILE__) . '/../../peers/clickhouse/server.py';
my $owner = $$;	# forked processes leave alone what is not theirs
my %running;	# peers by process id

=pod

=over

=item clickhouse_hindrance()

Why there can be no peer here; undef if there can be one.  The Python that has
the engine is the one that TOKENLEDGER_CHDB_PYTHON names.

=cut

sub clickhouse_hindrance
{
	my $python = $ENV{TOKENLEDGER_CHDB_PYTHON} // '';

	return 'no engine of ClickHouse: '
	  . ($ENV{TOKENLEDGER_CHDB_PYTHON_MISSING}
		  || 'TOKENLEDGER_CHDB_PYTHON is not set')
	  if $python eq '';
	return "the Python of chdb, $python, cannot be run" unless -x $python;
	return undef;
}

=pod

=item ClickHousePeer->new(%params)

A running peer.  dir: of its data (default: a new one that ends with the
object).  user (default "default"), password, token: who may ask.  tls_cert,
tls_key, client_ca: files; with them it speaks TLS.  keep_alive: seconds until
an idle connection is closed.  start => 0: not started yet.

=cut

sub new
{
	my ($class, %params) = @_;
	my $start = delete $params{start} // 1;
	my $hindrance = clickhouse_hindrance();
	my $self = bless {%params}, $class;

	die "$hindrance\n" if $hindrance;
	unless (defined $self->{dir})
	{
		$self->{own_dir} = File::Temp->newdir('clickhouse_XXXX', TMPDIR => 1);
		$self->{dir} = $self->{own_dir}->dirname;
	}
	$self->{user} //= 'default';
	$self->{port} = 0;
	$self->start if $start;
	return $self;
}

=pod

=item start(%params), stop(), kill9(), restart(), running()

start returns when the peer answers and dies when it does not come up within
timeout seconds (default 60).  With break_rename => 'kill' it ends by SIGKILL
before the first file or directory is renamed, with break_rename => 'fail'
each rename fails, until the next start: an insert is renamed when all else of
it is done.  strace_hindrance() says why that is impossible here.  stop lets what it does end; kill9 does not, and
neither fails if the peer has killed itself.  await_end waits until it has, as
a fault "kill" makes it, and returns whether it did within the seconds given.

=cut

sub start
{
	my ($self, %params) = @_;
	my $port_file = "$self->{dir}/port";
	my $deadline = time + ($params{timeout} // 60);

	unlink $port_file;
	$self->{pid} = $self->_spawn(_breaking_rename($params{break_rename}),
		$self->_command($port_file));
	$running{ $self->{pid} } = $self;
	until (-e $port_file)
	{
		my $why = !$self->running ? 'it ended'
		  : time > $deadline ? 'no port within the time'
		  : next;

		$self->kill9;
		die "ClickHouse peer did not start: $why\n" . $self->log;
	}
	continue
	{
		usleep(20_000);		# sleep-ok: interval of a poll with a deadline
	}
	$self->{port} = _slurp($port_file) + 0;
	return $self;
}

sub _command
{
	my ($self, $port_file) = @_;
	my @command = (
		$ENV{TOKENLEDGER_CHDB_PYTHON}, $SERVER,
		'--data' => $self->{dir},
		'--port' => $self->{port},
		'--port-file' => $port_file,
		'--user' => $self->{user});

	foreach my $secret (qw(password token))
	{
		next unless defined $self->{$secret};
		_spew("$self->{dir}/$secret", "$self->{$secret}\n");
		push @command, "--$secret-file", "$self->{dir}/$secret";
	}
	foreach my $file (qw(tls_cert tls_key client_ca))
	{
		push @command, '--' . $file =~ tr/_/-/r, $self->{$file}
		  if defined $self->{$file};
	}
	push @command, '--keep-alive', $self->{keep_alive}
	  if defined $self->{keep_alive};
	return @command;
}

# SIGKILL alone might come after the rename.
sub _breaking_rename
{
	my ($how) = @_;
	my %result = (kill => 'error=EIO:signal=KILL', fail => 'error=EIO');
	my $calls = 'rename,renameat,renameat2';

	return () unless defined $how;
	return ('strace', '-f', '-qq', '-o', '/dev/null', '-e', "trace=$calls",
		'-e', "inject=$calls:$result{$how}");
}

sub strace_hindrance
{
	my $tried = system 'strace -f -qq -o /dev/null -e trace=rename'
	  . ' -e inject=rename:error=EIO true >/dev/null 2>&1';

	return $tried == 0 ? undef : 'strace cannot inject faults here';
}

# In a group of its own, so that a wrapper and what it runs end together.
sub _spawn
{
	my ($self, @command) = @_;
	my $pid = fork // die "could not fork: $!";

	return $pid if $pid;
	setpgrp;
	$ENV{PYTHONDONTWRITEBYTECODE} = 1;
	open STDIN, '<', '/dev/null' or die "no /dev/null: $!";
	open STDOUT, '>>', "$self->{dir}/log" or die "no log: $!";
	open STDERR, '>&', \*STDOUT or die "no standard error: $!";
	exec @command or die "could not run $command[0]: $!";
}

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

	kill 'TERM', -$self->{pid} if $self->running;
	$self->await_end($params{timeout} // 30) or $self->kill9;
	return $self;
}

sub kill9
{
	my ($self) = @_;

	kill 'KILL', -$self->{pid} if $self->running;
	$self->await_end(30);
	return $self;
}

sub restart
{
	my ($self) = @_;

	return $self->stop->start;
}

sub await_end
{
	my ($self, $seconds) = @_;

	return $self->await($seconds, sub { !$self->running });
}

=pod

=item host(), port(), log(), base()

Where it listens; what it printed; the address for any other client.

=cut

sub host { return '127.0.0.1' }

sub port { my ($self) = @_; return $self->{port} }

sub log
{
	my ($self) = @_;

	return -e "$self->{dir}/log" ? _slurp("$self->{dir}/log") : '';
}

sub base
{
	my ($self) = @_;
	my $scheme = defined $self->{tls_cert} ? 'https' : 'http';

	return "$scheme://127.0.0.1:$self->{port}";
}

=pod

=item url(%options)

The peer as a target.  database (default "default"), port (of a proxy before
it), user; all other options are added as they are given.

=cut

sub url
{
	my ($self, %options) = @_;
	my $port = delete $options{port} // $self->{port};
	my $database = delete $options{database} // 'default';
	my $user = delete $options{user} // $self->{user};
	my $query = join '&',
	  map { "$_=" . _encoded($options{$_}) } sort keys %options;

	return "clickhouse://$user\@127.0.0.1:$port/$database"
	  . ($query eq '' ? '' : "?$query");
}

sub _encoded
{
	my ($value) = @_;

	utf8::encode($value) if utf8::is_utf8($value);
	$value =~ s/([^A-Za-z0-9_.\/-])/sprintf('%%%02X', ord $1)/ge;
	return $value;
}

=pod

=item request($method, $path, %params)

One HTTP request, as HTTP::Tiny answers it.  content, headers; query: reference
to the URL's parameters; timeout.  Only without TLS.

=cut

sub request
{
	my ($self, $method, $path, %params) = @_;
	my $query = delete $params{query} // {};
	my %headers = %{ delete $params{headers} // {} };
	my $url = $self->base . $path;

	$url .= '?'
	  . join('&', map { "$_=" . _encoded($query->{$_}) } sort keys %$query)
	  if %$query;
	$params{content} //= '' if $method eq 'POST';
	return HTTP::Tiny->new(keep_alive => 0, timeout => $params{timeout} // 60)
	  ->request(
		$method, $url,
		{
			headers => { $self->_credentials, %headers },
			exists $params{content} ? (content => $params{content}) : ()
		});
}

sub _credentials
{
	my ($self) = @_;

	return (Authorization => "Bearer $self->{token}")
	  if defined $self->{token} && !defined $self->{password};
	return (
		'X-ClickHouse-User' => $self->{user},
		'X-ClickHouse-Key' => $self->{password} // '');
}

=pod

=item query($sql, %params)

The output of a statement, without the last line end; dies with the store's
words when it fails.  params: as of request.

=item insert($sql, $data, %params)

Sends data for an INSERT ... FORMAT, returns the answer of request.

=cut

sub query
{
	my ($self, $sql, %params) = @_;
	my $text = $sql;

	utf8::encode($text) if utf8::is_utf8($text);
	my $answer = $self->request('POST', '/', content => $text, %params);

	die "ClickHouse: $answer->{status} $answer->{content}of: $sql\n"
	  unless $answer->{success};
	my $output = $answer->{content};
	chomp $output;
	return $output;
}

sub insert
{
	my ($self, $sql, $data, %params) = @_;
	my %query = (query => $sql, %{ delete $params{query} // {} });

	return $self->request(
		'POST', '/',
		content => $data,
		query => \%query,
		%params);
}

=pod

=item fault(%spec), clear_faults(), faults()

Plans a fault and returns its id; forgets all faults, so that whoever hangs
goes on; lists them with what has become of them.

=item await_hanging($n, $seconds), await($seconds, $met)

Waits until n requests hang at fault points, or until a function returns true;
returns whether it came to that.

=item journal(%filter)

What became of every request, also before a restart: a list of references to
hashes.  kind, token, query_id, state: only these.

=cut

sub fault
{
	my ($self, %spec) = @_;

	foreach my $field (
		qw(nth times seed bytes seconds bytes_per_second code status rows
		probability))
	{
		$spec{$field} += 0 if exists $spec{$field};
	}
	$spec{tagged} = $spec{tagged} ? JSON::PP::true() : JSON::PP::false()
	  if exists $spec{tagged};
	return $self->_admin('POST', '/_faults',
		content => JSON::PP::encode_json(\%spec))->{id};
}

sub clear_faults
{
	my ($self) = @_;

	$self->_admin('DELETE', '/_faults');
	return;
}

sub faults
{
	my ($self) = @_;

	return @{ $self->_admin('GET', '/_faults') };
}

sub await_hanging
{
	my ($self, $n, $seconds) = @_;

	return $self->await(
		$seconds,
		sub {
			my $hanging = 0;

			$hanging += $_->{hanging} foreach $self->faults;
			return $hanging >= $n;
		});
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

sub journal
{
	my ($self, %filter) = @_;
	my @entries = @{ $self->_admin('GET', '/_journal') };

	foreach my $field (keys %filter)
	{
		@entries =
		  grep { ($_->{$field} // '') eq $filter{$field} } @entries;
	}
	return @entries;
}

sub _admin
{
	my ($self, $method, $path, %params) = @_;
	my $answer = $self->request($method, $path, %params);

	die "ClickHouse peer: $method $path: $answer->{content}"
	  unless $answer->{success};
	return JSON::PP::decode_json($answer->{content});
}

sub _slurp
{
	my ($file) = @_;

	open my $in, '<', $file or die "could not read $file: $!";
	local $/;
	return scalar <$in>;
}

sub _spew
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
