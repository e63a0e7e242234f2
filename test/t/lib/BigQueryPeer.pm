
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
faults.  A peer keeps ports and data over stop, kill9 and start; Peer and
DoublePeer say what else it can do.

=cut

package BigQueryPeer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP ();

use parent 'DoublePeer';

our @EXPORT = qw(bigquery_hindrance bigquery_forwarded_ok);

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

=pod

=item BigQueryPeer->new(%params)

A running peer of project "p" and dataset "d".  service_key: file; require_token,
token_seconds; tls_cert, tls_key: files; own_look_ups: without the emulator.  start => 0: not started yet.

=cut

sub new
{
	my ($class, %params) = @_;
	my $start = delete $params{start} // 1;
	my $self = $class->make('bigquery', bigquery_hindrance(), %params);

	$self->{port} = $self->{grpc_port} = 0;
	$self->start if $start;
	return $self;
}

=pod

=item start()

Returns when the peer answers.

=cut

sub start
{
	my ($self) = @_;
	my $ports = "$self->{dir}/ports";

	unlink $ports;
	$self->launch(120, sub { -e $ports }, $self->_command);
	@$self{qw(port grpc_port)} = split / /, Peer::slurp($ports) =~ s/\n//r;
	return $self;
}

sub _command
{
	my ($self) = @_;
	my @command = (
		$ENV{TOKENLEDGER_BIGQUERY_PEER},
		'--data' => $self->{dir},
		'--port' => $self->{port},
		'--grpc-port' => $self->{grpc_port});

	foreach my $name (qw(service_key token_seconds tls_cert tls_key))
	{
		push @command, '--' . $name =~ tr/_/-/r, $self->{$name}
		  if defined $self->{$name};
	}
	push @command, '--require-token' if $self->{require_token};
	push @command, '--own-look-ups' if $self->{own_look_ups};
	return @command;
}

sub kind { return 'BigQuery' }

sub path_of { my ($self, $table) = @_; return $table }

sub fault_numbers { return qw(nth times code storage status) }

=pod

=item url(%options)

The peer as a target.  dataset (default "d"); all other options are added as
they are given, those that say where it is are there.

=cut

sub url
{
	my ($self, %options) = @_;
	my $dataset = delete $options{dataset} // 'd';
	my %all = (
		endpoint => $self->address,
		grpc_endpoint => $self->address($self->{grpc_port}),
		$self->{require_token} ? () : (auth => 'none'),
		%options);

	return "bigquery://p/$dataset?" . Peer::query_string(%all);
}

=pod

=item query($sql)

The rows of an answer, each a list of values.

=item streams()

The double's.

=item delete_rows($table, @event_ids)

As if somebody had deleted them.

=cut

sub query
{
	my ($self, $sql) = @_;
	my $answer = $self->request('POST', '/bigquery/v2/projects/p/queries',
		{ query => $sql, useLegacySql => JSON::PP::false() });

	return map { [ map { $_->{v} } @{ $_->{f} } ] } @{ $answer->{rows} // [] };
}

sub streams { my ($self) = @_; return @{ $self->request('GET', '/_streams') } }

sub delete_rows
{
	my ($self, $table, @ids) = @_;

	$self->request('POST', "/_delete?table=$table", \@ids);
	return;
}

=pod

=item bigquery_forwarded_ok($node, $database, $target, $peer, %params)

As double_forwarded_ok() of DoublePeer.

=cut

sub bigquery_forwarded_ok
{
	my @args = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return DoublePeer::double_forwarded_ok('bigquery_copy', @args);
}

=pod

=back

=cut

1;
