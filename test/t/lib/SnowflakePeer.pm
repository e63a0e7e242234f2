
=pod

=head1 NAME

SnowflakePeer - the strict double of Snowflake, and comparisons with it

=head1 SYNOPSIS

  use SnowflakePeer;

  plan skip_all => snowflake_hindrance() if snowflake_hindrance();
  my $store = SnowflakePeer->new;
  set_targets($node, 'warehouse=' . $store->url);
  $store->fault(call => 'submit', point => 'after', action => 'drop');
  snowflake_forwarded_ok($node, 'app', 'warehouse', $store);

=head1 DESCRIPTION

Runs test/peers/snowflake; its README says what is strict, what executes the
SQL, and the faults.  A peer keeps port and data over stop, kill9 and start; Peer
and DoublePeer say what else it can do.

=cut

package SnowflakePeer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

use parent 'DoublePeer';

our @EXPORT = qw(snowflake_hindrance snowflake_forwarded_ok);

my $SERVER = dirname(__FILE__) . '/../../peers/snowflake/server.py';

=pod

=over

=item snowflake_hindrance()

Why there can be no peer here; undef if there can be one.
TOKENLEDGER_SNOWFLAKE_PYTHON names the Python that has the emulator.

=cut

sub snowflake_hindrance
{
	my $python = $ENV{TOKENLEDGER_SNOWFLAKE_PYTHON} // '';

	return 'no emulator of Snowflake: '
	  . ($ENV{TOKENLEDGER_SNOWFLAKE_PYTHON_MISSING}
		  || 'TOKENLEDGER_SNOWFLAKE_PYTHON is not set')
	  if $python eq '';
	return "the Python of the emulator of Snowflake, $python, cannot be run"
	  unless -x $python;
	return 'no openssl program'
	  if system('openssl version >/dev/null 2>&1') != 0;
	return undef;
}

=pod

=item SnowflakePeer->new(%params)

A running peer with database APP, schema LEDGER, warehouse WH, role WRITER and
user LEDGER, who has a key pair (files key.pem and key.pub in dir).
oauth_token_file, pat_file, tls_cert, tls_key: files; options: a list of more.  start => 0: not started yet.

=cut

sub new
{
	my ($class, %params) = @_;
	my $start = delete $params{start} // 1;
	my $self = $class->make('snowflake', snowflake_hindrance(), %params);

	$self->{port} = 0;
	$self->{key} = "$self->{dir}/key.pem";
	make_key($self->{dir}, 'key') unless -e $self->{key};
	$self->start if $start;
	return $self;
}

=pod

=item SnowflakePeer::make_key($dir, $name)

A new key pair: $name.pem, PKCS#8, and $name.pub.

=cut

sub make_key
{
	my ($dir, $name) = @_;

	run_command([ 'openssl', 'genpkey', '-algorithm', 'RSA', '-pkeyopt',
			'rsa_keygen_bits:2048', '-out', "$dir/$name.pem" ]);
	run_command([ 'openssl', 'pkey', '-in', "$dir/$name.pem", '-pubout',
			'-out', "$dir/$name.pub" ]);
	chmod 0600, "$dir/$name.pem" or die "$dir/$name.pem: $!";
	return;
}

=pod

=item start()

Returns when the peer answers.

=cut

sub start
{
	my ($self) = @_;
	my $file = "$self->{dir}/port";

	unlink $file;
	$self->launch(120, sub { -e $file }, $self->_command($file));
	$self->{port} = Peer::slurp($file) + 0;
	return $self;
}

sub _command
{
	my ($self, $port_file) = @_;
	my @command = (
		$ENV{TOKENLEDGER_SNOWFLAKE_PYTHON}, '-B', $SERVER,
		'--data' => $self->{dir},
		'--port' => $self->{port},
		'--port-file' => $port_file,
		'--public-key' => "$self->{dir}/key.pub",
		@{ $self->{options} // [] });

	foreach my $name (qw(oauth_token_file pat_file tls_cert tls_key))
	{
		push @command, '--' . $name =~ tr/_/-/r, $self->{$name}
		  if defined $self->{$name};
	}
	return @command;
}

# The emulator's libraries look for files of the user's.
sub settle_in { my ($self) = @_; $ENV{HOME} = $self->{dir}; return }

sub kind { return 'Snowflake' }

sub path_of
{
	my ($self, $table) = @_;

	return Peer::encoded(qq("APP"."LEDGER".") . uc($table) . '"');
}

sub fault_numbers { return qw(nth times status polls seconds retry_after) }

=pod

=item url(%options)

The peer as a target.  All options are added as they are given; one that is undef
is left out, also of those that say where the peer is and who we are.

=cut

sub url
{
	my ($self, %options) = @_;
	my $account = delete $options{account} // 'myorg-myaccount';
	my $path = delete $options{path} // 'app/ledger';
	my %all = (
		endpoint => $self->address,
		user => 'ledger',
		private_key_file => $self->{key},
		warehouse => 'wh',
		statement_timeout => '2s',
		%options);

	return "snowflake://$account/$path?" . Peer::query_string(%all);
}

=pod

=item sql($sql)

The rows of an answer of the emulator, each a list of values, past all checks.

=item streams(), channel($table)

Its streams, with the table of each; the first channel of a table that there is.

=cut

sub sql { my ($self, $sql) = @_; return @{ $self->request('POST', '/_sql', $sql) } }

sub channel
{
	my ($self, $table) = @_;
	my ($channel) = grep { $_->{key} =~ m{/\U$table\E-STREAMING/} }
	  @{ $self->request('GET', '/_channels') };

	return $channel;
}

sub streams { my ($self) = @_; return %{ $self->request('GET', '/_streams') } }

=pod

=item snowflake_forwarded_ok($node, $database, $target, $peer, %params)

As double_forwarded_ok() of DoublePeer.

=cut

sub snowflake_forwarded_ok
{
	my @args = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return DoublePeer::double_forwarded_ok('snowflake_copy', @args);
}

=pod

=back

=cut

1;
