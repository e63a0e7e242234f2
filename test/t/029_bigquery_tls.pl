# Backend bigquery over TLS: REST, and the Storage Write API by HTTP/2, each of
# which is trusted by its own certificate.
use strict;
use warnings FATAL => 'all';

use File::Temp ();
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib "$FindBin::RealBin/../torture/lib";

use BigQueryPeer;
use TokenLedger;
use Torture::Certificates;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();
plan skip_all => 'no openssl' if system('openssl version >/dev/null 2>&1');

my $dir = File::Temp->newdir('tls_XXXX', TMPDIR => 1);
my $certificates = Torture::Certificates->new("$dir/of_server");
my $others = Torture::Certificates->new("$dir/of_others");
my $node = ledger_node('bigquery_tls', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 1s
tokenledger.timeout = 20s
EOC
my $next = 1;
my $peer = serve('right');

works($_, mode => $_) foreach qw(committed pending default insertall);
many_batches();
refused('wrong_ca', 'network', qr/certificate/i, ca_file => $others->authority);
refused('no_ca', 'config', qr/nowhere.*ca_file/, ca_file => "$dir/nowhere");
refused('plain', '\w+', qr/./,
	endpoint => "http://127.0.0.1:$peer->{port}",
	grpc_endpoint => "http://127.0.0.1:$peer->{grpc_port}");
untrusted('elsewhere', qr/host|name/i);
untrusted('expired', qr/expired/i);
untrusted('self_signed', qr/self.signed/i);
identity_ok($node, 'app', 'the identity holds at the end');
done_testing();

# A server that shows this of itself.
sub serve
{
	my ($certificate) = @_;

	$certificates->show($certificate);
	return BigQueryPeer->new(
		tls_cert => $certificates->certificate,
		tls_key => $certificates->key);
}

sub set_target
{
	my ($name, %options) = @_;

	set_targets($node, "$name=" . $peer->url(
			start => 'now',
			table => $name,
			expiration => 0,
			ca_file => $certificates->authority,
			%options));
	return;
}

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next, set => { cost_usd => 1 });
	$next += $n;
	return;
}

sub works
{
	my ($name, %options) = @_;

	set_target($name, %options);
	let_in($name);
	insert_some(20);
	caught_up_ok($node, 'app', $name);
	is(scalar($peer->rows($name)), 20, "$name: the events went over TLS");
	return;
}

# By REST.
sub let_in
{
	my ($name) = @_;

	return wait_until($node, 'app',
		"SELECT guarantee IS NOT NULL FROM token_ledger.status"
		  . " WHERE target = '$name'",
		't', "$name: it is let in");
}

# One connection takes them all: over TLS it is kept between requests.
sub many_batches
{
	set_target('many', batch_rows => 10);
	let_in('many');
	insert_some(500);
	bigquery_forwarded_ok($node, 'app', 'many', $peer,
		table => 'many',
		where => "event_id IN (SELECT md5('event ' || i)::uuid"
		  . " FROM generate_series($next - 500, $next - 1) i)",
		name => '50 batches, each event once');
	return;
}

sub refused
{
	my ($name, $cause, $words, %options) = @_;

	set_target($name, %options);
	let_in($name) if $name =~ /_grpc$/;
	insert_some(1);
	wait_until($node, 'app',
		'SELECT state, cause, last_error FROM token_ledger.status'
		  . " WHERE target = '$name'",
		qr/^error\|$cause\|.*$words/s, "$name: refused, status says why");
	return;
}

# All of the other server; then only its Storage Write API.
sub untrusted
{
	my ($certificate, $words) = @_;
	my $other = serve($certificate);
	my %there = (
		endpoint => "https://127.0.0.1:$other->{port}",
		grpc_endpoint => "https://127.0.0.1:$other->{grpc_port}");
	my $half = "${certificate}_grpc";

	refused($certificate, 'network', $words, %there);
	is(scalar $node->safe_psql('app',
			"SELECT healthy FROM token_ledger.health_check('$certificate')"),
		'f', "$certificate: not healthy");
	delete $there{endpoint};
	refused($half, 'network', $words, %there);
	is(scalar(my @entries = $other->journal), 0,
		"$certificate: it was asked nothing");
	return;
}
