
=pod

=head1 NAME

DoublePeer - a strict double of a store that nobody can run, for tests

=head1 DESCRIPTION

What BigQueryPeer and SnowflakePeer have in common besides the process.  A class
has kind(), the store's name; path_of($table), a table's name as a part of a URL;
tls_cert among its params if it speaks TLS.

=cut

package DoublePeer;

use strict;
use warnings FATAL => 'all';

use HTTP::Tiny;
use JSON::PP ();

use StoreCopy;
use TlsRequest;

use parent 'Peer';

=pod

=over

=item request($method, $path, $body)

One request; body is a reference that becomes JSON, or text.  Returns what was
answered, decoded; dies unless it was a success.

=item rows($table), rows_text($table)

What is in a table, as the double itself decoded it, by column, also as JSON.

=item poison(@values), poison_table($table, @values)

Refuses rows with these values, such as event ids, until the peer ends; only those
of a table.

=item address($port)

The address of a port, which is 'port' unless it is given.

=cut

sub request
{
	my ($self, $method, $path, $body) = @_;
	my $content = $self->_content($method, $path, $body);

	return $content eq '' ? undef :
	  JSON::PP->new->utf8->allow_nonref->decode($content);
}

sub admin { my ($self, @request) = @_; return $self->request(@request) }

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
	  ->request($method, $self->address . $path, \%options);
	die $self->kind . " peer: $method $path: $answer->{status} $answer->{content}\n"
	  unless $answer->{success};
	return $answer->{content};
}

sub rows
{
	my ($self, $table) = @_;

	return @{ JSON::PP::decode_json($self->rows_text($table)) };
}

sub rows_text
{
	my ($self, $table) = @_;

	return $self->_content('GET',
		'/_rows?table=' . $self->path_of($table // 'token_ledger_events'));
}

sub poison
{
	my ($self, @values) = @_;

	$self->request('POST', '/_poison', \@values);
	return;
}

sub poison_table
{
	my ($self, $table, @values) = @_;

	$self->request('POST', '/_poison?table=' . $self->path_of($table),
		\@values);
	return;
}

sub address
{
	my ($self, $port) = @_;

	return (defined $self->{tls_cert} ? 'https' : 'http')
	  . '://127.0.0.1:'
	  . ($port // $self->{port});
}

=pod

=item double_forwarded_ok($copies, $node, $database, $target, $peer, %params)

As copy_forwarded_ok() of StoreCopy, with copies in database $copies.  table: the
store's (default token_ledger_events).

=cut

sub double_forwarded_ok
{
	my ($copies, $node, $database, $target, $peer, %params) = @_;
	my $table = delete $params{table};

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return copy_forwarded_ok(
		$node, $database, $target, $copies,
		sub { json_copy($node, $copies, $peer->rows_text($table)) }, %params);
}

=pod

=back

=cut

1;
