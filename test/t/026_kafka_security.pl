# Backend kafka with a real broker that wants to know who comes: TLS, SASL PLAIN,
# SCRAM and OAUTHBEARER, what is wrong with each, and that no secret turns up
# anywhere.
use strict;
use warnings FATAL => 'all';

use File::Temp ();
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use version;

use KafkaPeer;
use TokenLedger;

plan skip_all => kafka_hindrance() if kafka_hindrance();
plan skip_all => 'no openssl' if system('openssl version >/dev/null 2>&1');

my $PASSWORD = 'kept-secret-1';
my $dir = File::Temp->newdir('security_XXXX', TMPDIR => 1);

make_certificates();
write_secret(password => $PASSWORD);
write_secret(wrong => 'kept-secret-2');
write_secret(token => token('ledger', 3600));
write_secret(expired => token('ledger', -3600));

my $broker = KafkaPeer->new(
	password => $PASSWORD,
	keystore => "$dir/server.p12");
my $node = ledger_node('security', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 1s
tokenledger.timeout = 20s
EOC
my %tls = (port => $broker->{tls_port}, tls => 'on', ca_file => "$dir/ca.pem");
my %user = (user => 'ledger', password_file => "$dir/password");

insert_events($node, 'app', 100);
let_in(plain => %user, port => $broker->{sasl_port}, sasl => 'PLAIN');
SKIP:
{
	my ($version) = psql_output($node, 'app',
		"SELECT value FROM token_ledger.connection_info('plain')"
		  . " WHERE key = 'librdkafka'") =~ /^([0-9.]+)/;

	skip "librdkafka $version fails at SCRAM with this broker", 4
	  if version->parse("v$version") < version->parse('v2.6.1');
	let_in(scram_256 => %user, %tls, sasl => 'SCRAM-SHA-256');
	let_in(scram_512 => %user, %tls);
}
let_in(plain_tls => %user, %tls, sasl => 'PLAIN');
let_in(bearer => %tls, token_file => "$dir/token");

kept_out(wrong_plain => qr/^error\|auth\|.*"password_file"/,
	%user, %tls,
	sasl => 'PLAIN',
	password_file => "$dir/wrong");
kept_out(wrong_scram => qr/^error\|auth\|.*"password_file"/,
	%user, %tls, password_file => "$dir/wrong");
kept_out(stranger => qr/^error\|auth\|.*"password_file"/,
	%user, %tls, user => 'stranger');
kept_out(expired => qr/^error\|auth\|.*"token_file"/,
	%tls, token_file => "$dir/expired");
kept_out(no_file => qr{^invalid\|config\|option "password_file": could not open},
	%user, %tls, password_file => "$dir/none");
kept_out(other_ca => qr/^error\|network\|.*certificate.*"ca_file"/is,
	%user, %tls, ca_file => "$dir/other.pem");
kept_out(no_ca => qr/^error\|network\|.*certificate.*"ca_file"/is,
	%user, %tls, ca_file => undef);
kept_out(no_such_ca => qr/^error\|.*ca_file|ssl\.ca\.location/,
	%user, %tls, ca_file => "$dir/none");

is( scalar(grep { /kept-secret/ } map { slurp_file($_) } $node->logfile),
	0, 'no secret in the log');
unlike(
	psql_output($node, 'app',
		'SELECT * FROM token_ledger.status, token_ledger.target'),
	qr/kept-secret/,
	'nor in what is known of targets');
identity_ok($node, 'app', 'the identity holds at the end');
done_testing();

sub make_certificates
{
	my $script = <<'EOC';
set -e
key='-newkey rsa:2048 -nodes'
for ca in ca other; do
	openssl req -x509 $key -days 2 -subj "/CN=$ca" \
		-keyout $ca.key -out $ca.pem
done
printf 'subjectAltName=IP:127.0.0.1' >here
openssl req $key -subj /CN=server -keyout server.key -out server.csr
openssl x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key \
	-CAcreateserial -extfile here -out server.pem
openssl pkcs12 -export -in server.pem -inkey server.key -certfile ca.pem \
	-name server -passout pass:keystore -out server.p12
EOC

	append_to_file("$dir/make", $script);
	system("cd '$dir' && sh ./make >make.log 2>&1") == 0
	  or die slurp_file("$dir/make.log");
	return;
}

# A JSON Web Token without a signature, as the broker's own validator takes it.
sub token
{
	my ($user, $seconds) = @_;
	my $now = time;

	return join '.',
	  encode_base64url('{"alg":"none"}'),
	  encode_base64url(sprintf '{"sub":"%s","iat":%d,"exp":%d}',
		$user, $now - 7200, $now + $seconds),
	  '';
}

sub write_secret
{
	my ($name, $value) = @_;

	append_to_file("$dir/$name", "$value\n");
	chmod 0600, "$dir/$name" or die "$dir/$name: $!";
	return;
}

sub target
{
	my ($name, %options) = @_;

	delete $options{ca_file} unless defined $options{ca_file};
	return set_targets($node, "$name=" . $broker->url($name, %options));
}

sub let_in
{
	my ($name, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	target($name, %options);
	return kafka_forwarded_ok($node, 'app', $name, $broker,
		name => "$name is let in, and the events arrive");
}

sub kept_out
{
	my ($name, $expected, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	target($name, %options);
	return wait_until($node, 'app',
		'SELECT state, cause, last_error FROM token_ledger.status'
		  . " WHERE target = '$name'",
		$expected, "$name: status says why, and which option");
}
