# Settings as a user writes them: what is wrong with an entry is said in that
# entry, the others are unaffected, and no secret shows.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('settings', start => 0,
	conf => "shared_preload_libraries = 'tokenledger, register_backends'");
$node->start;
create_ledger($node, $_) foreach 'app', 'other';

# What the log says of the registrations, in their order.
my $log = slurp_file($node->logfile);
my @outcomes = $log =~ /register \w+: (\w+)/g;

is(join(' ', @outcomes), join(' ', 'accepted', ('refused') x 14),
	'of the registered backends only the first is accepted');
foreach my $reason (
	'backend "runtime": the name is taken',
	'it has no table of callbacks',
	'its magic number is 0x00000001, expected 0x[0-9A-F]{8}',
	'the size of its table is 8, expected \d+ to \d+',
	'the size of its table is \d+[13579], expected',
	'backend "null": the name is taken',
	'its name does not consist of',
	'it lacks the required callback "send"',
	'one of its limits is negative',
	'its option "lanes" is of type string, expected integer',
	'option "a" is declared twice',
	'option "b" has an invalid default',
	'its migrations do not ascend: 100 after 101')
{
	like($log, qr/could not register .*$reason/, "refused: $reason");
}

# Libraries that are no backends.
sub backend_error
{
	my ($name) = @_;

	return $node->safe_psql('app',
		"SELECT error FROM token_ledger.backends() WHERE name = '$name'");
}

like(backend_error('wrongmagic'),
	qr{^library "\$libdir/tokenledger_wrongmagic" is not usable: its magic number is 0x[0-9A-F]{8}, expected 0x[0-9A-F]{8}$},
	'a library with another magic number is refused');
is(backend_error('noinit'),
	'library "$libdir/tokenledger_noinit" is not usable: it has no function tokenledger_backend_init',
	'a library without the init function is refused');
is( $node->safe_psql('app',
		"SELECT library IS NULL, error IS NULL FROM token_ledger.backends()"
		  . " WHERE name = 'runtime'"),
	't|t', 'the registered backend is listed');

# Entries, good and bad, and what is said of them.
my $secrets = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $secrets or die "chmod: $!";

sub secret_file
{
	my ($name, $mode) = @_;

	unlink "$secrets/$name";
	append_to_file("$secrets/$name", "s3cr3t\n");
	chmod $mode, "$secrets/$name" or die "chmod: $!";
	return "$secrets/$name";
}

sub targets_sql
{
	return "SELECT string_agg(concat_ws(' ', name, destination, error), E'\n'"
	  . " ORDER BY name COLLATE \"C\") FROM token_ledger.configured_targets()";
}

# Sets the entries and waits until the database sees what is expected.
sub targets_are
{
	my ($database, $entries, $expected, $what) = @_;

	set_targets($node, join ' ', @$entries);
	return wait_until($node, $database, targets_sql(),
		join("\n", @$expected), $what);
}

my $private = secret_file('private', 0600);
my $public = secret_file('public', 0644);

targets_are(
	'app',
	[
		'good=null://one',
		'app/here=runtime://H2:1,h1/a%20b?lanes=2',
		'other/there=null://two',
		'good=null://three',
		'same=null://one',
		'inline=postgresql://u:s3cr3t@h/d',
		'option=postgresql://h/d?password=s3cr3t',
		'private=postgresql://h/private?password_file=' . $private,
		'public=postgresql://h/public?password_file=' . $public,
		'missing=postgresql://h/d?password_file=/nonexistent/pw',
		'unknown=nosuch://h',
		'many=null://many?lanes=65',
		'typo=null://typo?lane=1',
		'nothing'
	],
	[
		'#14 the entry does not begin with "name="',
		'#4 entry 4 repeats the target name "good"',
		'good null://one',
		'here runtime://h1,h2:1/a%20b',
		'inline the URL holds a password',
		'many invalid value for option "lanes": "65"',
		'missing option "password_file": could not open file "/nonexistent/pw": No such file or directory',
		'option option "password" holds a secret, which must not be written in the URL',
		'private postgres://h/private',
		qq(public option "password_file": file "$public" can be accessed by group or others; it must have mode 0600 or less),
		'same null://one target "good" has the same destination',
		'typo unknown option "lane"',
		'unknown there is no backend "nosuch"'
	],
	'each entry is judged by itself');

is( $node->safe_psql('app',
		'SELECT count(*) FROM token_ledger.configured_targets() AS c'
		  . " WHERE to_jsonb(c)::text ~ 's3cr3t'"),
	'0', 'no secret is shown');
is( $node->safe_psql('app',
		'SELECT count(*) FROM token_ledger.configured_targets()'
		  . ' WHERE error IS NOT NULL AND hint IS NULL'
		  . " AND error !~ 'retry_min'"),
	'0', 'each mistake comes with a hint');
is( $node->safe_psql('app',
		'SELECT hint FROM token_ledger.configured_targets()'
		  . " WHERE name = 'typo'") =~ /^Perhaps you mean "lanes"\. Known options: /,
	1, 'the hint for a misspelt option names the one that was meant');

# A mistake outside of the settings is gone without a reload.
chmod 0600, $public or die "chmod: $!";
is( $node->safe_psql('app',
		'SELECT error IS NULL FROM token_ledger.configured_targets()'
		  . " WHERE name = 'public'"),
	't', 'a secret file with its mode corrected is accepted');

# An entry for one database is seen there alone, and says when it cannot run.
targets_are('other', ['other/there=null://two', 'app/here=null://one'],
	['there null://two'], 'an entry for a database is seen in that database');
is( $node->safe_psql('other',
		'SELECT hint FROM token_ledger.configured_targets()'),
	'Add this database to tokenledger.databases.',
	'a database that does not forward says so');
$node->safe_psql('postgres',
	q(ALTER SYSTEM SET tokenledger.databases = 'app', 'other'));
$node->reload;
wait_until($node, 'other',
	'SELECT hint IS NULL FROM token_ledger.configured_targets()',
	't', 'until it is added');

# Two names for one destination are told apart by their tables.
targets_are('app', [ 'a=null://h', 'b=null://h?table=x', 'c=null://h?table=x' ],
	[
		'a null://h',
		'b null://h?table=x',
		'c null://h?table=x target "b" has the same destination'
	],
	'targets with different tables are different');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
