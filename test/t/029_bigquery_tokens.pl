# Who backend bigquery says it is: key files, users, the metadata server, JWTs of
# its own; tokens that end and are refused; and no secret in any output.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;
use TokenLedger;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();
plan skip_all => 'no openssl program'
  if system('openssl version >/dev/null 2>&1') != 0;

my $files = PostgreSQL::Test::Utils::tempdir;

sub spew
{
	my ($name, $text) = @_;

	open my $out, '>', "$files/$name" or die "$files/$name: $!";
	print {$out} $text;
	close $out or die "$files/$name: $!";
	chmod 0600, "$files/$name" or die "$files/$name: $!";
	return "$files/$name";
}

sub key_file
{
	my ($name, %more) = @_;
	my ($pem) = run_command([ 'openssl', 'genpkey', '-algorithm', 'RSA',
			'-pkeyopt', 'rsa_keygen_bits:2048' ]);

	return spew($name, JSON::PP::encode_json({
			type => 'service_account',
			client_email => 'ledger@p.iam.gserviceaccount.com',
			private_key_id => 'key1',
			private_key => "$pem\n",
			%more }));
}

# The token endpoint is the peer's, so its port has to be known first.
my $key = key_file('key.json');
my $peer = BigQueryPeer->new(service_key => $key, require_token => 1);
my $uri = "http://127.0.0.1:$peer->{port}/token";
my $data = JSON::PP::decode_json(slurp_file($key));

spew('key.json', JSON::PP::encode_json({ %$data, token_uri => $uri }));
key_file('other.json', token_uri => $uri);
spew('user.json', JSON::PP::encode_json({
		type => 'authorized_user',
		client_id => 'client',
		client_secret => 's&cret',
		refresh_token => '1//refresh',
		quota_project_id => 'p',
		token_uri => $uri }));
spew('federated.json', '{"type": "external_account"}');
spew('broken.json', '{}');

# The lanes have the server's environment.
local $ENV{GCE_METADATA_HOST} = "127.0.0.1:$peer->{port}";
local $ENV{HOME} = $files;
delete local $ENV{GOOGLE_APPLICATION_CREDENTIALS};

my $node = ledger_node('tokens', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $next = 1;

sub insert_some
{
	insert_events($node, 'app', 10, first => $next,
		set => { cost_usd => 'i * 0.00000125' });
	$next += 10;
	return;
}

sub arrives
{
	my ($table, $name, %options) = @_;

	set_targets($node, "$table=" . $peer->url(table => $table, %options));
	insert_some();
	bigquery_forwarded_ok($node, 'app', $table, $peer, table => $table,
		where => 'true', name => $name);
	return;
}

sub given
{
	my ($way) = @_;

	return $peer->request('GET', '/_tokens')->{by}{$way} // 0;
}

arrives('account', 'a key file of a service account',
	credentials_file => "$files/key.json");
cmp_ok(given('jwt'), '>', 0, 'a token was asked for');

# Refused once, renewed, and nobody notices.
my $before = given('jwt');

$peer->request('POST', '/_revoke');
insert_some();
bigquery_forwarded_ok($node, 'app', 'account', $peer, table => 'account',
	where => 'true', name => 'a token that is refused is renewed');
cmp_ok(given('jwt'), '>', $before, 'by a new one');

arrives('self_signed', 'a JWT of our own',
	credentials_file => "$files/key.json", auth => 'self_signed');
arrives('authorized', 'the file of a user',
	credentials_file => "$files/user.json");
cmp_ok(given('refresh'), '>', 0, 'by its refresh token');
arrives('metadata', 'the metadata server', auth => 'metadata');
arrives('nothing_said', 'application default credentials end there');
cmp_ok(given('metadata'), '>', 1, 'the metadata server was asked');

# What goes wrong is said, and goes on by itself.
foreach my $case (
	[ 'other', 'other.json', 'invalid_grant' ],
	[ 'federated', 'federated.json', 'external_account' ],
	[ 'broken', 'broken.json', 'no "type"' ])
{
	my ($table, $file, $words) = @$case;

	set_targets($node, "$table="
		  . $peer->url(table => $table, credentials_file => "$files/$file"));
	wait_until($node, 'app',
		"SELECT state, last_error LIKE '%$words%' FROM token_ledger.status"
		  . " WHERE target = '$table'",
		'error|t', "$file: status says what is wrong");
}
spew('broken.json', slurp_file("$files/key.json"));
bigquery_forwarded_ok($node, 'app', 'broken', $peer, table => 'broken',
	where => 'true', name => 'and goes on when it is mended');

my $seen = slurp_file($node->logfile)
  . $node->safe_psql('app', 'SELECT * FROM token_ledger.status');

unlike($seen, qr/PRIVATE KEY|ya29\.|1\/\/refresh|s&cret|eyJhbGciOi/,
	'no key and no token is shown anywhere');
done_testing();
