
=pod

=head1 NAME

TlsRequest - a request to a peer that speaks TLS

=head1 DESCRIPTION

HTTP::Tiny needs modules for TLS that PostgreSQL's tests do not; the program
openssl is there wherever certificates are made.  The peer is on this machine, and
not asked who it is.

=over

=item tls_request($method, $port, $path, $content)

As HTTP::Tiny answers: a reference to a hash of status, success and content.

=cut

package TlsRequest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run ();

our @EXPORT = qw(tls_request);

sub tls_request
{
	my ($method, $port, $path, $content) = @_;
	my $length = length($content // '');
	my $request = "$method $path HTTP/1.0\r\nHost: 127.0.0.1:$port\r\n"
	  . "Content-Type: application/json\r\nContent-Length: $length\r\n\r\n"
	  . ($content // '');
	my $answer = '';

	IPC::Run::run(
		[ qw(openssl s_client -quiet -connect), "127.0.0.1:$port" ],
		'<', \$request, '>', \$answer, '2>', '/dev/null');
	my ($head, $body) = split /\r\n\r\n/, $answer, 2;
	my ($status) = ($head // '') =~ m{^HTTP/\S+ (\d+)};

	$status //= 599;
	return {
		status => $status,
		success => $status =~ /^2/,
		content => $body // ''
	};
}

=pod

=back

=cut

1;
