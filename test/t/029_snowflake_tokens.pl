# Who backend snowflake says it is: key pairs, encrypted and rotated, tokens of
# OAuth, programmatic access tokens; what is refused; and no secret in any
# output.  The double verifies signature and claims.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use SnowflakePeer;
use TokenLedger;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

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

my $peer = SnowflakePeer->new(
	oauth_token_file => spew('oauth', "oauth-access-token\n"),
	pat_file => spew('pat', 'programmatic-token'));
my $node = ledger_node('snowflake_tokens', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $next = 1;
my $case = 0;

sub insert_some
{
	insert_events($node, 'app', 10, first => $next,
		set => { cost_usd => 'i * 0.00000125' });
	$next += 10;
	return;
}

sub arrives
{
	my ($name, %options) = @_;
	my $table = 'case_' . ++$case;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	set_targets($node, "$table=" . $peer->url(table => $table, %options));
	insert_some();
	snowflake_forwarded_ok($node, 'app', $table, $peer, table => $table,
		where => 'true', name => $name);
	return $table;
}

sub refused
{
	my ($words, $name, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	set_targets($node, 'wrong=' . $peer->url(table => 'wrong', %options));
	wait_until($node, 'app', <<"EOC", 't', $name);
SELECT state IN ('error', 'invalid') AND last_error LIKE '%$words%'
FROM token_ledger.status WHERE target = 'wrong'
EOC
	return;
}

my @no_key = (private_key_file => undef, user => undef);

arrives('a key pair, the account in its host form',
	account => 'myorg-myaccount.snowflakecomputing.com');
run_command([ 'openssl', 'pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-in',
		$peer->{key}, '-out', "$files/encrypted.pem",
		'-passout', 'pass:open sesame' ]);
chmod 0600, "$files/encrypted.pem" or die "chmod: $!";
arrives('an encrypted key',
	private_key_file => "$files/encrypted.pem",
	private_key_passphrase_file => spew('passphrase', "open sesame\n"));
arrives('a token of OAuth', @no_key, oauth_token_file => "$files/oauth");
arrives('a role that the user has', role => 'writer');

# Rotation: a token that is refused is made anew, from the file as it is by now.
my $table = arrives('a programmatic access token', @no_key,
	pat_file => "$files/pat");

SnowflakePeer::make_key($files, 'new');
$table = arrives('a key pair');
$peer->request('POST', '/_key', slurp_file("$files/new.pub"));
insert_some();
wait_until($node, 'app',
	"SELECT state, cause FROM token_ledger.status WHERE target = '$table'",
	'error|auth', 'the user has another key: class auth');
spew('copy.pem', slurp_file("$files/new.pem"));
rename "$files/copy.pem", $peer->{key} or die "rename: $!";
snowflake_forwarded_ok($node, 'app', $table, $peer, table => $table,
	where => 'true', name => 'and goes on when the file has it');

# What is wrong is said.
refused('the private key is encrypted, and there is no passphrase',
	'no passphrase', private_key_file => "$files/encrypted.pem");
refused('cannot be decrypted', 'another passphrase',
	private_key_file => "$files/encrypted.pem",
	private_key_passphrase_file => spew('wrong', 'open barley'));
refused('not one in PEM format', 'no key',
	private_key_file => "$files/oauth");
refused('JWT token is invalid', 'another account', account => 'myorg-other');
refused('JWT token is invalid', 'another user', user => 'somebody');
refused('Invalid OAuth access token', 'another token', @no_key,
	oauth_token_file => "$files/pat");
refused('takes no passwords', 'a password', @no_key,
	password_file => "$files/passphrase");
refused('one of the options', 'nothing at all', @no_key);
refused('exclude each other', 'two at once', pat_file => "$files/pat");
refused('goes with', 'a passphrase of nothing', @no_key,
	pat_file => "$files/pat",
	private_key_passphrase_file => "$files/passphrase");
refused('whose key is it', 'no user', user => undef);
refused('is not granted', 'another role', role => 'other');
refused('No active warehouse', 'no warehouse', warehouse => undef);
refused('needs no quotes', 'a warehouse in quotes', warehouse => 'my wh');
refused('not https', 'an endpoint that others can read',
	endpoint => 'http://store.example:80');
refused('must name a database', 'no schema', path => 'app');
refused('must name an account', 'no account', account => 'one,two');

my $seen = slurp_file($node->logfile)
  . $node->safe_psql('app', 'SELECT * FROM token_ledger.status')
  . $node->safe_psql('app', 'SELECT * FROM token_ledger.target');

unlike($seen,
	qr/PRIVATE KEY|eyJhbGciOi|oauth-access|programmatic-token|open (?:sesame|barley)/,
	'no key and no token is shown anywhere');
done_testing();
