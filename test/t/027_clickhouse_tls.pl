# Backend clickhouse over TLS: whom it trusts, by what it is known itself, and
# that none of the secrets turns up anywhere.
use strict;
use warnings FATAL => 'all';

use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use TokenLedger;

plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();
plan skip_all => 'no openssl' if system('openssl version >/dev/null 2>&1');

my $PASSWORD = 'kept-secret-1';
my $TOKEN = 'kept-secret-2';
my $dir = File::Temp->newdir('tls_XXXX', TMPDIR => 1);
my $node = ledger_node('tls', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 1s
EOC
my $next = 1;
my $peer;

make_certificates();
write_secret(password => $PASSWORD);
write_secret(token => $TOKEN);
write_secret(wrong => 'kept-secret-3');

trust();
untrusted('other_host', 'elsewhere', qr/host|name/i);
untrusted('expired', 'expired', qr/expired/i);
by_password();
by_token();
by_certificate();
told_nowhere();
identity_ok($node, 'app', 'the identity holds at the end');
done_testing();

# Certificates: of two authorities, of servers, and of the client u.
sub make_certificates
{
	my $script = <<'EOC';
set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
for ca in ca other; do
	openssl req -x509 $key -days 2 -subj "/CN=$ca" \
		-keyout $ca.key -out $ca.pem
done
printf 'subjectAltName=IP:127.0.0.1' >here
printf 'subjectAltName=DNS:elsewhere.invalid' >there
cat >conf <<'EOF'
[ca]
default_ca = it
[it]
new_certs_dir = .
database = index
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
EOF
touch index
sign()
{
	openssl req $key -subj "/CN=$2" -keyout $1.key -out $1.csr
	openssl ca -batch -notext -config conf -cert ca.pem -keyfile ca.key \
		-extfile $3 -startdate $4 -enddate $5 -in $1.csr -out $1.pem
}
sign server server here 20200101000000Z 20491231235959Z
sign elsewhere server there 20200101000000Z 20491231235959Z
sign expired server here 20200101000000Z 20200102000000Z
sign u u here 20200101000000Z 20491231235959Z
sign v v here 20200101000000Z 20491231235959Z
EOC
	open my $shell, '|-', "cd '$dir' && sh >log 2>&1" or die "no shell: $!";
	print {$shell} $script;
	close $shell
	  or die 'could not make certificates: ' . slurp_file("$dir/log");
	return;
}

sub write_secret
{
	my ($name, $secret) = @_;

	append_to_file("$dir/$name", "$secret\n");
	chmod 0600, "$dir/$name" or die "$dir/$name: $!";
	return;
}

# Another server, with what it shows of itself.
sub serve
{
	my ($certificate, %params) = @_;

	$peer->stop if defined $peer;
	$peer = ClickHousePeer->new(
		user => 'u',
		password => $PASSWORD,
		token => $TOKEN,
		tls_cert => "$dir/$certificate.pem",
		tls_key => "$dir/$certificate.key",
		%params);
	return;
}

sub set_target
{
	my ($name, %options) = @_;

	$options{tls} = 'on';
	$options{ca_file} //= "$dir/ca.pem";
	set_targets($node, "$name=" . $peer->url(ttl => 0, start => 'now',
			table => $name, %options));
	return;
}

sub insert_some
{
	insert_events($node, 'app', 20, first => $next, set => { cost_usd => 1 });
	$next += 20;
	return;
}

sub works
{
	my ($name, %options) = @_;

	set_target($name, %options);
	wait_until($node, 'app',
		"SELECT guarantee IS NOT NULL FROM token_ledger.status"
		  . " WHERE target = '$name'",
		't', "$name: it is let in");
	insert_some();
	caught_up_ok($node, 'app', $name);
	is($node->safe_psql('app',
			"SELECT forwarded FROM token_ledger.status WHERE target = '$name'"),
		20, "$name: the events went over TLS");
	return;
}

sub refused
{
	my ($name, $cause, $words, %options) = @_;

	set_target($name, %options);
	wait_until($node, 'app',
		'SELECT state, cause, last_error FROM token_ledger.status'
		  . " WHERE target = '$name'",
		qr/^error\|$cause\|.*$words/s, "$name: refused, status says why");
	return;
}

sub trust
{
	my %user = (password_file => "$dir/password");

	serve('server');
	works('right_ca', %user);
	refused('wrong_ca', 'network', qr/certificate/i, %user,
		ca_file => "$dir/other.pem");
	refused('default_ca', 'network', qr/certificate/i, %user,
		ca_file => '/etc/ssl/certs/ca-certificates.crt')
	  if -e '/etc/ssl/certs/ca-certificates.crt';
	refused('no_ca', 'config', qr/nowhere.*ca_file/, %user, ca_file => "$dir/nowhere");
	set_targets($node, 'plain=' . $peer->url(%user, tls => 'off'));
	wait_until($node, 'app',
		q(SELECT state FROM token_ledger.status WHERE target = 'plain'),
		'error', 'a server with TLS is not spoken to without');
	return;
}

sub untrusted
{
	my ($name, $certificate, $words) = @_;

	serve($certificate);
	refused($name, 'network', $words, password_file => "$dir/password");
	is(scalar $node->safe_psql('app',
			"SELECT healthy FROM token_ledger.health_check('$name')"),
		'f', "$name: not healthy");
	return;
}

# A file is read anew: nobody has to restart anything.
sub by_password
{
	serve('server');
	works('password', password_file => "$dir/password");
	refused('wrong_password', 'auth', qr/516|Authentication/i,
		password_file => "$dir/wrong");
	write_secret_anew(wrong => $PASSWORD);
	wait_until($node, 'app',
		'SELECT state FROM token_ledger.status'
		  . " WHERE target = 'wrong_password'",
		'running', 'the file has got the right one: it goes on');
	return;
}

sub write_secret_anew
{
	my ($name, $secret) = @_;

	unlink "$dir/$name" or die "$dir/$name: $!";
	return write_secret($name, $secret);
}

sub by_token
{
	works('token', token_file => "$dir/token");
	write_secret_anew(wrong => 'kept-secret-4');
	refused('wrong_token', 'auth', qr/516|Authentication/i,
		token_file => "$dir/wrong");
	return;
}

sub by_certificate
{
	my %certificate = (cert_file => "$dir/u.pem", key_file => "$dir/u.key");

	serve('server', client_ca => "$dir/ca.pem");
	refused('no_certificate', 'network', qr/./,
		password_file => "$dir/password");
	works('both', %certificate, password_file => "$dir/password");
	works('certificate', %certificate);
	refused('wrong_name', 'auth', qr/516|Authentication/i,
		cert_file => "$dir/v.pem", key_file => "$dir/v.key");
	refused('wrong_key', '\w+', qr/v\.key/, %certificate,
		key_file => "$dir/v.key");
	return;
}

sub told_nowhere
{
	my @queries = (
		'SELECT s FROM token_ledger.status s',
		'SELECT l FROM token_ledger.lanes l',
		'SELECT s FROM pg_settings s',
		'SELECT a FROM pg_stat_activity a',
		'SELECT t FROM token_ledger.target t');

	set_target('shown', password_file => "$dir/password",
		cert_file => "$dir/u.pem", key_file => "$dir/u.key");
	wait_until($node, 'app',
		q(SELECT state FROM token_ledger.status WHERE target = 'shown'),
		'running', 'a target to be looked at');
	push @queries, q(SELECT c FROM token_ledger.connection_info('shown') c),
	  q(SELECT h FROM token_ledger.health_check('shown') h);

	my $shown = join "\n", map { $node->safe_psql('app', $_) } @queries;

	$shown .= slurp_file($node->logfile);
	like($shown, qr/\Q$dir\E.password/, 'the file is named');
	unlike($shown, qr/kept.secret/, 'no secret is told');
	return;
}
