# Backend snowflake over TLS, in both modes: whom it trusts, also of the host that
# takes rows, and that neither key nor token turns up anywhere.
use strict;
use warnings FATAL => 'all';

use File::Temp ();
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib "$FindBin::RealBin/../torture/lib";

use SnowflakePeer;
use TokenLedger;
use Torture::Certificates;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

my $dir = File::Temp->newdir('tls_XXXX', TMPDIR => 1);
my $certificates = Torture::Certificates->new("$dir/of_server");
my $others = Torture::Certificates->new("$dir/of_others");
my $node = ledger_node('snowflake_tls', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 1s
tokenledger.timeout = 20s
EOC
my $next = 1;
my $peer;

append_to_file("$dir/pat", "kept-secret-1\n");
chmod 0600, "$dir/pat" or die "$dir/pat: $!";

serve('right');
works($_, mode => $_) foreach qw(sql streaming);
works('by_token', private_key_file => undef, pat_file => "$dir/pat");
foreach my $mode (qw(sql streaming))
{
	refused("wrong_ca_$mode", 'network', qr/certificate/i,
		mode => $mode, ca_file => $others->authority);
}
refused('no_ca', 'config', qr/nowhere.*ca_file/, ca_file => "$dir/nowhere");
refused('plain', '\w+', qr/./, ca_file => undef,
	endpoint => "http://127.0.0.1:$peer->{port}");
untrusted('elsewhere', qr/host|name/i);
untrusted('expired', qr/expired/i);
untrusted('self_signed', qr/self.signed/i);

# The account's address is trusted, and the host that it names is not.
serve('right', options => [ '--ingest-name', 'localhost' ]);
refused('ingest_host', 'network', qr/host|name/i, mode => 'streaming');
is(scalar(my @channels = @{ $peer->request('GET', '/_channels') }),
	0, 'it was told nothing');
works('sql_still');
told_nowhere();
identity_ok($node, 'app', 'the identity holds at the end');
done_testing();

# Another server, with what it shows of itself.
sub serve
{
	my ($certificate, %params) = @_;

	$peer->stop if defined $peer;
	$certificates->show($certificate);
	$peer = SnowflakePeer->new(
		tls_cert => $certificates->certificate,
		tls_key => $certificates->key,
		pat_file => "$dir/pat",
		%params);
	return;
}

sub set_target
{
	my ($name, %options) = @_;

	set_targets($node, "$name=" . $peer->url(
			start => 'now',
			table => $name,
			ca_file => $certificates->authority,
			%options));
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
	insert_events($node, 'app', 20, first => $next, set => { cost_usd => 1 });
	$next += 20;
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
	insert_events($node, 'app', 1, first => $next++, set => { cost_usd => 1 });
	wait_until($node, 'app',
		'SELECT state, cause, last_error FROM token_ledger.status'
		  . " WHERE target = '$name'",
		qr/^error\|$cause\|.*$words/s, "$name: refused, status says why");
	return;
}

sub untrusted
{
	my ($certificate, $words) = @_;

	serve($certificate);
	refused($certificate, 'network', $words);
	is(scalar $node->safe_psql('app',
			"SELECT healthy FROM token_ledger.health_check('$certificate')"),
		'f', "$certificate: not healthy");
	is(scalar(my @entries = $peer->journal), 0,
		"$certificate: it was asked nothing");
	return;
}

sub told_nowhere
{
	set_target('shown', private_key_file => undef, pat_file => "$dir/pat");
	wait_until($node, 'app',
		q(SELECT state FROM token_ledger.status WHERE target = 'shown'),
		'running', 'a target to be looked at');
	my $shown = join "\n", map { $node->safe_psql('app', $_) }
	  'SELECT s FROM token_ledger.status s',
	  'SELECT l FROM token_ledger.lanes l',
	  'SELECT s FROM pg_settings s',
	  'SELECT a FROM pg_stat_activity a',
	  'SELECT t FROM token_ledger.target t',
	  q(SELECT c FROM token_ledger.connection_info('shown') c),
	  q(SELECT h FROM token_ledger.health_check('shown') h);

	$shown .= slurp_file($node->logfile);
	like($shown, qr/\Q$dir\E.pat/, 'the file is named');
	unlike($shown, qr/kept-secret|BEGIN PRIVATE KEY|eyJ[A-Za-z0-9_-]{20}/,
		'no secret is told');
	return;
}
