
=pod

=head1 NAME

BigQueryPeer - the strict double of BigQuery, and comparisons with it

=head1 SYNOPSIS

  use BigQueryPeer;

  plan skip_all => bigquery_hindrance() if bigquery_hindrance();
  my $store = BigQueryPeer->new;
  set_targets($node, 'warehouse=' . $store->url);
  $store->fault(call => 'append', point => 'after', action => 'drop');
  bigquery_forwarded_ok($node, 'app', 'warehouse', $store);

=head1 DESCRIPTION

Runs test/peers/bigquery; its README says what is strict, what is real, and the
faults.  A peer keeps ports and data over stop, kill9 and start.  All are
killed when the test ends, however it ends.

=cut

package BigQueryPeer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Temp ();
use HTTP::Tiny;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use TlsRequest;
use TokenLedger;

our @EXPORT = qw(bigquery_hindrance bigquery_forwarded_ok bigquery_poison);

# Events of insert_events() that BigQuery does not take.
our $POISON = "cost_usd = 'NaN'";

my $owner = $$;	# forked processes leave alone what is not theirs
my %running;	# peers by process id
my $copies = 0;

=pod

=over

=item bigquery_hindrance()

Why there can be no peer here; undef if there can be one.  TOKENLEDGER_BIGQUERY_PEER
names its program.

=cut

sub bigquery_hindrance
{
	my $program = $ENV{TOKENLEDGER_BIGQUERY_PEER} // '';

	return 'no double of BigQuery: '
	  . ($ENV{TOKENLEDGER_BIGQUERY_PEER_MISSING}
		  || 'TOKENLEDGER_BIGQUERY_PEER is not set')
	  if $program eq '';
	return "the double of BigQuery, $program, cannot be run"
	  unless -x $program;
	return undef;
}

sub bigquery_poison { return $POISON }

=pod

=item BigQueryPeer->new(%params)

A running peer of project "p" and dataset "d".  dir: of its data (default: a new
one that ends with the object).  service_key: file; require_token,
token_seconds; tls_cert, tls_key: files; own_look_ups: without the emulator.  start => 0: not started yet.

=cut

sub new
{
	my ($class, %params) = @_;
	my $start = delete $params{start} // 1;
	my $hindrance = bigquery_hindrance();
	my $self = bless {%params}, $class;

	die "$hindrance\n" if $hindrance;
	unless (defined $self->{dir})
	{
		$self->{own_dir} = File::Temp->newdir('bigquery_XXXX', TMPDIR => 1);
		$self->{dir} = $self->{own_dir}->dirname;
	}
	$self->{port} = $self->{grpc_port} = 0;
	$self->start if $start;
	return $self;
}

=pod

=item start(), stop(), kill9(), running(), await_end($seconds)

start returns when the peer answers.  stop and kill9 do not fail if it has
killed itself; await_end waits until it has, as the fault "kill" makes it.

=cut

sub start
{
	my ($self) = @_;
	my $ports = "$self->{dir}/ports";

	unlink $ports;
	$self->{pid} = $self->_spawn;
	$running{ $self->{pid} } = 1;
	$self->await(120, sub { -e $ports || !$self->running });
	die "the double of BigQuery did not start\n" . $self->log unless -e $ports;
	@$self{qw(port grpc_port)} = split / /, _slurp($ports) =~ s/\n//r;
	return $self;
}

sub _spawn
{
	my ($self) = @_;
	my @command = (
		$ENV{TOKENLEDGER_BIGQUERY_PEER},
		'--data' => $self->{dir},
		'--port' => $self->{port},
		'--grpc-port' => $self->{grpc_port});
	my $pid;

	foreach my $name (qw(service_key token_seconds tls_cert tls_key))
	{
		push @command, '--' . $name =~ tr/_/-/r, $self->{$name}
		  if defined $self->{$name};
	}
	push @command, '--require-token' if $self->{require_token};
	push @command, '--own-look-ups' if $self->{own_look_ups};
	$pid = fork // die "could not fork: $!";
	return $pid if $pid;
	setpgrp;
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

The peer as a target.  dataset (default "d"); all other options are added as
they are given, those that say where it is are there.

=cut

sub url
{
	my ($self, %options) = @_;
	my $dataset = delete $options{dataset} // 'd';
	my $scheme = defined $self->{tls_cert} ? 'https' : 'http';
	my %all = (
		endpoint => "$scheme://127.0.0.1:$self->{port}",
		grpc_endpoint => "$scheme://127.0.0.1:$self->{grpc_port}",
		$self->{require_token} ? () : (auth => 'none'),
		%options);

	return "bigquery://p/$dataset?"
	  . join('&', map { "$_=" . _encoded($all{$_}) } sort keys %all);
}

sub _encoded
{
	my ($value) = @_;

	$value =~ s/([^A-Za-z0-9_.\/:-])/sprintf('%%%02X', ord $1)/ge;
	return $value;
}

=pod

=item request($method, $path, $body)

One request of REST; body is a reference that becomes JSON.  Returns what was
answered, decoded; dies unless it was a success.

=item query($sql)

The rows of an answer, each a list of values.

=item rows($table), rows_text($table), streams()

What can be seen in a table, as the double itself decoded it, by column, also as
JSON; and its streams.

=cut

sub request
{
	my ($self, $method, $path, $body) = @_;
	my $content = $self->_content($method, $path, $body);

	return $content eq '' ? undef : JSON::PP::decode_json($content);
}

sub _content
{
	my ($self, $method, $path, $body) = @_;
	my %options = (headers => { 'Content-Type' => 'application/json' });
	my $answer;

	$options{content} = JSON::PP::encode_json($body) if defined $body;
	$answer =
	  defined $self->{tls_cert}
	  ? tls_request($method, $self->{port}, $path, $options{content})
	  : HTTP::Tiny->new(timeout => 300)
	  ->request($method, "http://127.0.0.1:$self->{port}$path", \%options);
	die "BigQuery peer: $method $path: $answer->{status} $answer->{content}\n"
	  unless $answer->{success};
	return $answer->{content};
}

sub query
{
	my ($self, $sql) = @_;
	my $answer = $self->request('POST', '/bigquery/v2/projects/p/queries',
		{ query => $sql, useLegacySql => JSON::PP::false() });

	return map { [ map { $_->{v} } @{ $_->{f} } ] } @{ $answer->{rows} // [] };
}

sub rows
{
	my ($self, $table) = @_;

	return @{ JSON::PP::decode_json($self->rows_text($table)) };
}

sub rows_text
{
	my ($self, $table) = @_;

	return $self->_content('GET', '/_rows?table='
		  . ($table // 'token_ledger_events'));
}

sub streams { my ($self) = @_; return @{ $self->request('GET', '/_streams') } }

=pod

=item fault(%spec), clear_faults(), faults(), poison(@event_ids), poison_table($table, @models)

Plans a fault; forgets all; lists them with how often each was met; refuses
rows of these events; rows of these models in a table, until the peer ends.

=item delete_rows($table, @event_ids)

As if somebody had deleted them.

=item journal(%filter)

What became of every call, also before a restart: a list of references to
hashes.

=cut

sub fault
{
	my ($self, %spec) = @_;

	$spec{$_} += 0
	  foreach grep { exists $spec{$_} } qw(nth times code storage status);
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

	$self->request('POST', "/_poison?table=$table", \@values);
	return;
}

sub delete_rows
{
	my ($self, $table, @ids) = @_;

	$self->request('POST', "/_delete?table=$table", \@ids);
	return;
}

sub journal
{
	my ($self, %filter) = @_;
	my @entries = @{ $self->request('GET', '/_journal') };

	foreach my $field (keys %filter)
	{
		@entries =
		  grep { ($_->{$field} // '') eq $filter{$field} } @entries;
	}
	return @entries;
}

sub log
{
	my ($self) = @_;

	return -e "$self->{dir}/output" ? _slurp("$self->{dir}/output") : '';
}

=pod

=item bigquery_forwarded_ok($node, $database, $target, $peer, %params)

Waits until the target has caught up and checks that the table holds every
event once, as the ledger has it, but for the poison, and nothing else.
table: the store's (default token_ledger_events).  where: instead of "all but
the poison".  timeout, name.

=cut

sub bigquery_forwarded_ok
{
	my ($node, $database, $target, $peer, %params) = @_;
	my $table = delete $params{table} // 'token_ledger_events';
	my $name = $params{name} // "$target holds every event once";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up_ok($node, $database, $target, timeout => $params{timeout})
	  or return fail($name);
	return forwarded_ok(
		$node, $database, $target, $node, 'bigquery_copy',
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

	create_store($node, 'bigquery_copy');
	# One line of JSON, as COPY wants it: Perl would take long to read it.
	my $rows = $peer->rows_text($table);
	$rows =~ s/\\/\\\\/g;
	open my $out, '>:raw', $file or die "$file: $!";
	print {$out} $rows;
	close $out or die "$file: $!";
	$node->safe_psql('bigquery_copy', <<EOC);
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

sub _slurp
{
	my ($file) = @_;

	open my $in, '<', $file or die "could not read $file: $!";
	local $/;
	return scalar <$in>;
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
