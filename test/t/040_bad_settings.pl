# Entries that cannot run: status names the target and what to change, the other
# targets and those who insert feel nothing, and an entry that has been mended
# is taken up by itself.  test/t/010_settings.pl has the wording of every
# mistake; here a server forwards meanwhile.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $SECRET = 'Xp7-inline-secret';
my $node = ledger_node('badsettings', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
EOC
my $next = 1;
my $files = PostgreSQL::Test::Utils::tempdir;

create_store($node, $_) foreach qw(good mended);

sub url
{
	return store_url($node, @_);
}

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

sub good_goes_on
{
	my ($what) = @_;

	insert_events($node, 'app', 20, first => $next);
	$next += 20;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return forwarded_ok($node, 'app', 'good', $node, 'good', name => $what);
}

set_targets($node, 'good=' . url('good'));
good_goes_on('a good target');

# Each of these is wrong in its way: name, entry, error, hint.
my $mended = url('mended');
my @bad = (
	[
		'scheme', 'scheme=nosuch://h/d',
		qr/there is no backend "nosuch"/, qr/null.*postgres/
	],
	[
		'option', "option=$mended&batch_row=5",
		qr/unknown option "batch_row"/,
		qr/"batch_rows".*Known options:.*timeout/
	],
	[
		'range', "range=$mended&lanes=1000",
		qr/invalid value for option "lanes": "1000"/, qr/1.*64/
	],
	[
		'port', 'port=postgresql://h:x/d', qr/port/, qr/./
	],
	[
		'#2', 'malformed=postgresql//h/d',
		qr{has no "scheme://"}, qr/name=/
	],
	[
		'inline', "inline=postgresql://u:$SECRET\@h/d",
		qr/the URL holds a password/, qr/password_file/
	],
	[
		'inlineoption', "inlineoption=postgresql://h/d?password=$SECRET",
		qr/must not be written in the URL/, qr/password_file/
	],
	[
		'same', 'same=' . url('good'),
		qr/target "good" has the same destination/, qr/tokenledger\.targets/
	],
	[
		'missing', "missing=$mended&password_file=$files/missing",
		qr/option "password_file".*No such file/, qr/0600/
	],
	[
		'magic', 'magic=wrongmagic://h/d',
		qr/tokenledger_wrongmagic.*magic number/, qr/./
	],
	[
		'nodatabase', 'nodatabase=postgresql://h', qr/names no database/, undef
	],);

foreach my $case (@bad)
{
	my ($name, $entry, $error, $hint) = @$case;

	set_targets($node, "good=" . url('good') . " $entry");
	status_is(
		$name,
		'state, last_error',
		qr/^(invalid|error)\|.*$error/s,
		"$name: status says what is wrong");
	like(
		$node->safe_psql('app',
			"SELECT hint FROM token_ledger.status WHERE target = '$name'"),
		$hint, "$name: and what to change")
	  if $hint;
	good_goes_on("$name: the good target goes on");
}

# All of them at once, and a name that is there twice.
set_targets($node,
	join ' ', 'good=' . url('good'), (map { $_->[1] } @bad),
	'good=' . url('mended'));
status_is('range', 'state', 'invalid', 'all of them at once');
wait_until($node, 'app',
	"SELECT count(*) FROM token_ledger.configured_targets()"
	  . qq( WHERE error LIKE '%repeats the target name "good"'),
	'1', 'a name that is there twice is named');
good_goes_on('the good target goes on among all of them');
is( $node->safe_psql('mended',
		"SELECT to_regclass('public.token_ledger_events')"),
	'', 'none of them has written anything');

# No secret, wherever one looks.
unlike(
	$node->safe_psql('app',
		'SELECT * FROM token_ledger.status; SELECT * FROM token_ledger.lanes;'
		  . ' SELECT * FROM token_ledger.target;'
		  . ' SELECT * FROM token_ledger.configured_targets();'
		  . ' SELECT application_name, query FROM pg_stat_activity'
		  . ' WHERE pid <> pg_backend_pid()'),
	qr/\Q$SECRET\E/, 'an inline password is in no view');
my $log = slurp_file($node->logfile);
my @shown = grep { /\Q$SECRET\E/ && !/parameter "tokenledger.targets" changed/ }
  split /\n/, $log;
is(scalar(@shown), 0,
	"nor in the log, but for the server's own line about the setting")
  or diag(join "\n", @shown);

# A secret file that everybody may read.
append_to_file("$files/secret", "anything\n");
chmod 0644, "$files/secret" or die "chmod: $!";
set_targets($node, 'good=' . url('good') . ' mended='
	  . url('mended', password_file => "$files/secret"));
status_is('mended', 'state, last_error',
	qr/^invalid\|option "password_file".*mode 0600/,
	'a secret file that others can read is refused');
good_goes_on('the good target goes on beside it');
chmod 0600, "$files/secret" or die "chmod: $!";
forwarded_ok($node, 'app', 'mended', $node, 'mended',
	name => 'with its mode corrected, the target starts by itself');

# A secret file that is taken away from a running target, and comes back.
unlink "$files/secret" or die "unlink: $!";
$node->safe_psql('mended',
	'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE application_name LIKE 'tokenledger mended%'");
good_goes_on('the good target goes on without the secret of another');
append_to_file("$files/secret", "anything\n");
chmod 0600, "$files/secret" or die "chmod: $!";
forwarded_ok($node, 'app', 'mended', $node, 'mended',
	name => 'a secret file that has come back');

# A mistake mended by a reload.
set_targets($node, 'good=' . url('good') . " mended=$mended&lanes=0");
status_is('mended', 'state', 'invalid', 'a running target becomes invalid');
good_goes_on('the good target goes on beside it');
set_targets($node, 'good=' . url('good') . " mended=$mended");
forwarded_ok($node, 'app', 'mended', $node, 'mended',
	name => 'and goes on when its entry is mended');
identity_ok($node, 'app');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
