
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
start; Peer says what else it can do.

=cut

package ClickHousePeer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP ();

use parent 'Peer';

our @EXPORT = qw(clickhouse_hindrance strace_hindrance);

my $SERVER = dirname(__FILE__) . '/../../peers/clickhouse/server.py';

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

A running peer.  user (default "default"), password, token: who may ask.
tls_cert, tls_key, client_ca: files; with them it speaks TLS.  keep_alive:
seconds until an idle connection is closed.  start => 0: not started yet.

=cut

sub new
{
	my ($class, %params) = @_;
	my $start = delete $params{start} // 1;
	my $self = $class->make('clickhouse', clickhouse_hindrance(), %params);

	$self->{user} //= 'default';
	$self->{port} = 0;
	$self->start if $start;
	return $self;
}

=pod

=item start(%params)

Returns when the peer answers and dies when it does not come up within timeout
seconds (default 60).  With break_rename => 'kill' it ends by SIGKILL before the
first file or directory is renamed, with break_rename => 'fail' each rename
fails, until the next start: an insert is renamed when all else of it is done.
strace_hindrance() says why that is impossible here.

=cut

sub start
{
	my ($self, %params) = @_;
	my $port_file = "$self->{dir}/port";

	unlink $port_file;
	$self->launch(
		$params{timeout} // 60,
		sub { -e $port_file },
		_breaking_rename($params{break_rename}),
		$self->_command($port_file));
	$self->{port} = Peer::slurp($port_file) + 0;
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
		Peer::spew("$self->{dir}/$secret", "$self->{$secret}\n");
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

sub settle_in { $ENV{PYTHONDONTWRITEBYTECODE} = 1; return }

=pod

=item host(), port(), base()

Where it listens; the address for any other client.

=cut

sub host { return '127.0.0.1' }

sub port { my ($self) = @_; return $self->{port} }

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
	my $query = Peer::query_string(%options);

	return "clickhouse://$user\@127.0.0.1:$port/$database"
	  . ($query eq '' ? '' : "?$query");
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

	$url .= '?' . Peer::query_string(%$query) if %$query;
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

=item fault(%spec)

As Peer's.  tagged: true or false.

=item await_hanging($n, $seconds)

Waits until n requests hang at fault points; returns whether it came to that.

=cut

sub fault
{
	my ($self, %spec) = @_;

	$spec{tagged} = $spec{tagged} ? JSON::PP::true() : JSON::PP::false()
	  if exists $spec{tagged};
	return $self->SUPER::fault(%spec);
}

sub fault_numbers
{
	return qw(nth times seed bytes seconds bytes_per_second code status rows
	  probability);
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

sub admin
{
	my ($self, $method, $path, $body) = @_;
	my $answer = $self->request($method, $path,
		defined $body ? (content => JSON::PP::encode_json($body)) : ());

	die "ClickHouse peer: $method $path: $answer->{content}"
	  unless $answer->{success};
	return JSON::PP::decode_json($answer->{content});
}

=pod

=back

=cut

1;
