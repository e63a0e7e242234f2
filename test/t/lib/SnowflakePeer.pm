
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
SQL, and the faults.  A peer keeps port and data over stop, kill9 and start.  All
are killed when the test ends, however it ends.

=cut

package SnowflakePeer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use File::Temp ();
use HTTP::Tiny;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use TlsRequest;
use TokenLedger;

our @EXPORT = qw(snowflake_hindrance snowflake_forwarded_ok snowflake_poison);

# Events of insert_events() that Snowflake does not take.
our $POISON = "cost_usd = 'NaN'";

my $SERVER = dirname(__FILE__) . '/../../peers/snowflake/server.py';
my $owner = $$;	# forked processes leave alone what is not theirs
my %running;	# peers by process id
my $copies = 0;

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

sub snowflake_poison { return $POISON }

=pod

=item SnowflakePeer->new(%params)

A running peer with database APP, schema LEDGER, warehouse WH, role WRITER and
user LEDGER, who has a key pair (files key.pem and key.pub in dir).  dir: of its data
(default: a new one that ends with the object).  oauth_token_file, pat_file,
tls_cert, tls_key: files; options: a list of more.  start => 0: not started yet.

=cut

sub new
{
	my ($class, %params) = @_;
	my $start = delete $params{start} // 1;
	my $hindrance = snowflake_hindrance();
	my $self = bless {%params}, $class;

	die "$hindrance\n" if $hindrance;
	unless (defined $self->{dir})
	{
		$self->{own_dir} = File::Temp->newdir('snowflake_XXXX', TMPDIR => 1);
		$self->{dir} = $self->{own_dir}->dirname;
	}
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

=item start(), stop(), kill9(), running(), await_end($seconds)

start returns when the peer answers.  stop and kill9 do not fail if it has
killed itself; await_end waits until it has, as the fault "kill" makes it.

=cut

sub start
{
	my ($self) = @_;
	my $file = "$self->{dir}/port";

	unlink $file;
	$self->{pid} = $self->_spawn;
	$running{ $self->{pid} } = 1;
	$self->await(120, sub { -e $file || !$self->running });
	die "the double of Snowflake did not start\n" . $self->log
	  unless -e $file;
	$self->{port} = slurp_file($file) + 0;
	return $self;
}

sub _spawn
{
	my ($self) = @_;
	my @command = (
		$ENV{TOKENLEDGER_SNOWFLAKE_PYTHON}, '-B', $SERVER,
		'--data' => $self->{dir},
		'--port' => $self->{port},
		'--port-file' => "$self->{dir}/port",
		'--public-key' => "$self->{dir}/key.pub",
		@{ $self->{options} // [] });
	my $pid;

	foreach my $name (qw(oauth_token_file pat_file tls_cert tls_key))
	{
		push @command, '--' . $name =~ tr/_/-/r, $self->{$name}
		  if defined $self->{$name};
	}
	$pid = fork // die "could not fork: $!";
	return $pid if $pid;
	setpgrp;
	# The emulator's libraries look for files of the user's.
	$ENV{HOME} = $self->{dir};
	open STDIN, '<', '/dev/null' or die "no /dev/null: $!";
	open STDOUT, '>>', "$self->{dir}/output" or die "no log: $!";
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
	my ($self) = @_;

	kill 'TERM', -$self->{pid} if $self->running;
	$self->await_end(30) or $self->kill9;
	return $self;
}

sub kill9
{
	my ($self) = @_;

	kill 'KILL', -$self->{pid} if $self->running;
	$self->await_end(30);
	return $self;
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

=pod

=item url(%options)

The peer as a target.  All options are added as they are given; one that is undef
is left out, also of those that say where the peer is and who we are.

=cut

sub url
{
	my ($self, %options) = @_;
	my $scheme = defined $self->{tls_cert} ? 'https' : 'http';
	my $account = delete $options{account} // 'myorg-myaccount';
	my $path = delete $options{path} // 'app/ledger';
	my %all = (
		endpoint => "$scheme://127.0.0.1:$self->{port}",
		user => 'ledger',
		private_key_file => $self->{key},
		warehouse => 'wh',
		statement_timeout => '2s',
		%options);

	return "snowflake://$account/$path?"
	  . join('&',
		map { "$_=" . _encoded($all{$_}) }
		  grep { defined $all{$_} } sort keys %all);
}

sub _encoded
{
	my ($value) = @_;

	$value =~ s/([^A-Za-z0-9_.\/:-])/sprintf('%%%02X', ord $1)/ge;
	return $value;
}

=pod

=item request($method, $path, $body)

One request; body is a reference that becomes JSON, or text.  Returns what was
answered, decoded; dies unless it was a success.

=item sql($sql)

The rows of an answer of the emulator, each a list of values, past all checks.

=item rows($table), rows_text($table), streams()

What is in a table, by column, also as JSON; its streams, with the table of each.

=cut

sub request
{
	my ($self, $method, $path, $body) = @_;
	my $content = $self->_content($method, $path, $body);

	return $content eq '' ? undef :
	  JSON::PP->new->utf8->allow_nonref->decode($content);
}

sub _content
{
	my ($self, $method, $path, $body) = @_;
	my %options = (headers => { 'Content-Type' => 'application/json' });
	my $answer;

	$options{content} = ref $body ? JSON::PP::encode_json($body) : $body
	  if defined $body;
	$answer =
	  defined $self->{tls_cert}
	  ? tls_request($method, $self->{port}, $path, $options{content})
	  : HTTP::Tiny->new(timeout => 300)
	  ->request($method, "http://127.0.0.1:$self->{port}$path", \%options);
	die "Snowflake peer: $method $path: $answer->{status} $answer->{content}\n"
	  unless $answer->{success};
	return $answer->{content};
}

sub sql { my ($self, $sql) = @_; return @{ $self->request('POST', '/_sql', $sql) } }

sub rows
{
	my ($self, $table) = @_;

	return @{ $self->request('GET', '/_rows?table=' . _quoted($table)) };
}

sub rows_text
{
	my ($self, $table) = @_;

	return $self->_content('GET', '/_rows?table=' . _quoted($table));
}

sub _quoted
{
	my ($table) = @_;

	$table = uc($table // 'token_ledger_events');
	return _encoded(qq("APP"."LEDGER"."$table"));
}

sub streams { my ($self) = @_; return %{ $self->request('GET', '/_streams') } }

=pod

=item fault(%spec), clear_faults(), faults(), poison(@values), poison_table($table, @values)

Plans a fault; forgets all; lists them with how often each was met; refuses
statements with these values, such as event ids; only those of a table.

=item journal(%filter)

What became of every statement, also before a restart: a list of references to
hashes.

=cut

sub fault
{
	my ($self, %spec) = @_;

	$spec{$_} += 0
	  foreach
	  grep { exists $spec{$_} } qw(nth times status polls seconds retry_after);
	return $self->request('POST', '/_faults', \%spec)->{id};
}

sub clear_faults
{
	my ($self) = @_;

	$self->request('DELETE', '/_faults');
	return;
}

sub faults { my ($self) = @_; return @{ $self->request('GET', '/_faults') } }

sub poison
{
	my ($self, @ids) = @_;

	$self->request('POST', '/_poison', \@ids);
	return;
}

sub poison_table
{
	my ($self, $table, @values) = @_;

	$self->request('POST', '/_poison?table=' . _quoted($table), \@values);
	return;
}

sub journal
{
	my ($self, %filter) = @_;
	my @entries = @{ $self->request('GET', '/_journal') };

	foreach my $field (keys %filter)
	{
		@entries =
		  grep { ($_->{$field} // '') =~ $filter{$field} } @entries;
	}
	return @entries;
}

sub log
{
	my ($self) = @_;

	return -e "$self->{dir}/output" ? slurp_file("$self->{dir}/output") : '';
}

=pod

=item snowflake_forwarded_ok($node, $database, $target, $peer, %params)

Waits until the target has caught up and checks that the table holds every
event once, as the ledger has it, but for the poison, and nothing else.
table: the store's (default token_ledger_events).  where: instead of "all but
the poison".  timeout, name.

=cut

sub snowflake_forwarded_ok
{
	my ($node, $database, $target, $peer, %params) = @_;
	my $table = delete $params{table} // 'token_ledger_events';
	my $name = $params{name} // "$target holds every event once";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up_ok($node, $database, $target, timeout => $params{timeout})
	  or return fail($name);
	return forwarded_ok(
		$node, $database, $target, $node, 'snowflake_copy',
		where => "($POISON) IS NOT TRUE",
		%params,
		name => $name,
		wait => 0,
		table => _copy($node, $peer, $table));
}

# A table of the test's own server that holds what the store's does.
sub _copy
{
	my ($node, $peer, $table) = @_;
	my $copy = 'copy_' . ++$copies;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$copy.json";

	create_store($node, 'snowflake_copy');
	# One line of JSON, as COPY wants it: Perl would take long to read it.
	my $rows = $peer->rows_text($table);
	$rows =~ s/\\/\\\\/g;
	open my $out, '>:raw', $file or die "$file: $!";
	print {$out} $rows;
	close $out or die "$file: $!";
	$node->safe_psql('snowflake_copy', <<EOC);
CREATE EXTENSION IF NOT EXISTS tokenledger;
CREATE TABLE $copy (LIKE token_ledger.token_ledger_events);
ALTER TABLE $copy DROP ingest_xid, DROP ingest_seq;
CREATE TEMP TABLE answer (a jsonb);
\\copy answer FROM '$file'
CREATE TEMP TABLE rows AS SELECT jsonb_array_elements(a) AS row FROM answer;
INSERT INTO $copy SELECT (jsonb_populate_record(NULL::$copy,
	row - 'metadata' - 'metadata_extra')).* FROM rows;
UPDATE $copy SET metadata = (row->>'metadata')::jsonb,
	metadata_extra = (row->>'metadata_extra')::jsonb
	FROM rows WHERE event_id = (row->>'event_id')::uuid;
EOC
	return $copy;
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
