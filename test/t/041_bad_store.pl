# Stores that are down, refuse, hang, or have lost their table: the target is in
# error and says why, the others go on, nothing is lost, and it goes on by
# itself when the cause is gone.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use HangingStore;
use TokenLedger;

my $hang = HangingStore->new;
my $store = PostgreSQL::Test::Cluster->new('store');
$store->init(extra => [ '--no-locale', '--encoding=UTF8' ]);

my $node = ledger_node('badstore', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $next = 1;
my $files = PostgreSQL::Test::Utils::tempdir;

create_store($node, 'good');
my $good = 'good=' . store_url($node, 'good');

sub insert_some
{
	insert_events($node, 'app', 30, first => $next);
	$next += 30;
	return;
}

sub status_is
{
	my ($columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = 'bad'",
		$expected, $what);
}

# While it is in error with the given cause and words: inserts work, the good
# target goes on, and nothing is counted wrongly.
sub in_error
{
	my ($what, $cause, $message) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	insert_some();
	status_is('state, cause, last_error', qr/^error\|$cause\|.*$message/s,
		"$what: status says why");
	forwarded_ok($node, 'app', 'good', $node, 'good',
		name => "$what: the good target goes on");
	identity_ok($node, 'app', "$what: the identity holds");
	return;
}

# All is well again.
sub mended
{
	my ($what, %params) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	forwarded_ok($node, 'app', 'bad', $store, 'bad', name => $what, %params);
	status_is('state, last_error, cause, error_since', 'running|||',
		"$what: status has forgotten the error");
	return;
}

# Lanes of the store connect anew.
sub hang_up
{
	$store->safe_psql('postgres',
		'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
		  . " WHERE application_name LIKE 'tokenledger bad%'");
	return;
}

# Down at the start.
set_targets($node, "$good bad=" . store_url($store, 'bad'));
in_error('down at the start', 'network', 'No such file|refused');
$store->start;
in_error('without the database', 'config',
	'database "bad" does not exist');
create_store($store, 'bad');
mended('up, with the database');

# Hanging, by way of a listener that does not speak: the target moves, but the
# store stays the same for the ledger.
insert_some();
set_targets($node, "$good bad=postgresql://u\@127.0.0.1:"
	  . $hang->port . '/bad?connect_timeout=300ms');
status_is('state', 'stopped', 'another store under the name stops the target');
set_targets($node, "$good slow=postgresql://u\@127.0.0.1:"
	  . $hang->port . '/bad?connect_timeout=300ms');
wait_until($node, 'app',
	'SELECT state, cause, last_error FROM token_ledger.status'
	  . " WHERE target = 'slow'",
	qr/^error\|network\|.*connect_timeout/,
	'hanging: status names the time limit');
forwarded_ok($node, 'app', 'good', $node, 'good',
	name => 'hanging: the good target goes on');

# Hanging in the middle of an attempt.
set_targets($node, "$good bad=" . store_url($store, 'bad', timeout => '300ms'));
mended('back at the old store');
my $gate = $store->background_psql('bad');
$gate->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
in_error('hanging in an attempt', '\w+', 'timeout');
$gate->query_safe('ROLLBACK;');
$gate->quit;
mended('when it does not hang any more');
set_targets($node, "$good bad=" . store_url($store, 'bad'));

# Restarted.
$store->stop('fast');
in_error('stopped', 'network', '.');
$store->start;
mended('when it has been started');

# Refusing: pg_hba.conf, then a wrong password.
my $hba = slurp_file($store->data_dir . '/pg_hba.conf');

sub set_hba
{
	my ($text) = @_;

	unlink $store->data_dir . '/pg_hba.conf';
	$store->append_conf('pg_hba.conf', $text);
	$store->reload;
	return;
}

my $as_bob = "$good bad="
  . store_url($store, 'bad', user => 'bob', password_file => "$files/password");
$store->safe_psql('bad', <<'EOC');
CREATE ROLE bob LOGIN PASSWORD 'right';
GRANT INSERT, SELECT ON ALL TABLES IN SCHEMA public TO bob;
EOC
append_to_file("$files/password", "wrong\n");
chmod 0600, "$files/password" or die "chmod: $!";
set_hba("local all bob reject\n$hba");
set_targets($node, $as_bob);
in_error('refused by pg_hba.conf', 'auth', 'pg_hba.conf rejects');
set_hba("local all bob scram-sha-256\n$hba");
in_error('a wrong password', 'auth',
	'password authentication failed');
unlink "$files/password";
append_to_file("$files/password", "right\n");
chmod 0600, "$files/password" or die "chmod: $!";
mended('with the right password');
unlike(
	$node->safe_psql('app', 'SELECT * FROM token_ledger.status')
	  . slurp_file($node->logfile),
	qr/\bwrong\b|\bright\b/, 'no password was shown');
set_hba($hba);
$store->safe_psql('bad', 'REVOKE INSERT ON token_ledger_events FROM bob');
hang_up();
in_error('without the privilege', 'auth', 'INSERT|permission');
$store->safe_psql('bad', 'GRANT INSERT ON token_ledger_events TO bob');
mended('with the privilege');
set_targets($node, "$good bad=" . store_url($store, 'bad'));
mended('as the owner again');

# A session that is ended in the middle, many times.
foreach my $round (1 .. 5)
{
	insert_some();
	hang_up();
}
mended('after sessions were ended');

# The table changes under a part that is on its way: it loses columns, which are
# then left out.
$gate = $store->background_psql('bad');
$gate->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
insert_some();
wait_until($store, 'bad',
	'SELECT count(*) FROM pg_locks WHERE NOT granted AND relation ='
	  . " 'token_ledger_events'::regclass",
	'1', 'an attempt waits for the table');
$gate->query_safe('ALTER TABLE token_ledger_events DROP feature, DROP page,'
	  . ' DROP component, DROP team, DROP project, DROP cost_center,'
	  . ' DROP metadata_extra;'
	  . ' DELETE FROM token_ledger_schema_version WHERE version > 102;'
	  . ' COMMIT;');
$gate->quit;
insert_some();
mended('a table at an older version');
status_is('remote_version', '102', 'status tells the version');

# Another shape: a column is missing, or of another type.
$store->safe_psql('bad',
	'ALTER TABLE token_ledger_events RENAME model TO model_name');
in_error('a column is missing', 'schema', 'column "model"');
$store->safe_psql('bad',
	'ALTER TABLE token_ledger_events RENAME model_name TO model');
mended('when it is there');
$store->safe_psql('bad',
	'ALTER TABLE token_ledger_events ALTER total_tokens TYPE integer');
in_error('a column of another type', 'schema', 'total_tokens');
$store->safe_psql('bad',
	'ALTER TABLE token_ledger_events ALTER total_tokens TYPE bigint');
mended('when it has its type');
$store->safe_psql('bad',
	'ALTER TABLE token_ledger_events ADD extra integer NOT NULL DEFAULT 1;'
	  . ' ALTER TABLE token_ledger_events ALTER extra DROP DEFAULT');
in_error('an extra column that must not be null', 'schema', 'extra');
$store->safe_psql('bad', 'ALTER TABLE token_ledger_events DROP extra');
mended('without it');

# Without the unique index events still arrive once, and status says so.
$store->safe_psql('bad',
	'ALTER TABLE token_ledger_events DROP CONSTRAINT token_ledger_events_pkey');
hang_up();
insert_some();
mended('without the unique index');
status_is(
	'guarantee, remote_differences',
	qr/^exactly once, by asking the store\|.*no unique index/,
	'without the unique index: status says what that means');

# A new target whose table is not there, and may not be made.
create_store($store, 'manual');
set_targets($node,
	"$good bad=" . store_url($store, 'bad') . ' manual='
	  . store_url($store, 'manual', auto_migrate => 'off'));
wait_until($node, 'app',
	'SELECT state, cause, last_error FROM token_ledger.status'
	  . " WHERE target = 'manual'",
	qr/^error\|schema\|.*token_ledger\.create_schema\('manual'\).*auto_migrate/,
	'no table: status says how it is made');
is( $store->safe_psql('manual',
		"SELECT to_regclass('public.token_ledger_events')"),
	'', 'no table: none was made');
$node->safe_psql('app', "SELECT token_ledger.create_schema('manual')");
forwarded_ok($node, 'app', 'manual', $store, 'manual',
	name => 'when the table was made as status said');
identity_ok($node, 'app');

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed on ' . $_->name)
  foreach $node, $store;

done_testing();
