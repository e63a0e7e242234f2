# Commands that need a database, or the extension in it, to themselves: each
# just works within seconds while lanes run there, also while they wait for a
# store, and no event is lost or doubled by it.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use HangingStore;
use TokenLedger;

# PostgreSQL gives up after five seconds when a database is in use; removing its
# files may take a busy disk as long.  A lane would wait longer for its store.
my $PROMPT = 20;

my $hang = HangingStore->new;
my $node = ledger_node('databases', databases => [],
	conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
EOC

create_store($node, $_) foreach qw(store locked);

sub set_databases
{
	my (@databases) = @_;

	$node->safe_psql('postgres',
		'ALTER SYSTEM SET tokenledger.databases = '
		  . (@databases ? join(', ', map { "'$_'" } @databases) : "''"));
	$node->reload;
	return;
}

# The command succeeds, and soon.
sub prompt_ok
{
	my ($database, $command, $what) = @_;
	my $begun = time;
	my ($status, undef, $error) = $node->psql($database, $command);
	my $elapsed = time - $begun;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($status == 0 && $elapsed < $PROMPT, $what)
	  or diag("took $elapsed s, said: $error")
	  or diag_ledger($node, $database);
	return;
}

sub entry
{
	my ($name, $table) = @_;

	return "$name=" . store_url($node, 'store', table => $table, lanes => 2);
}

my $hanging = 'hang=postgresql://u@127.0.0.1:' . $hang->port . '/d';

# DROP DATABASE: idle lanes, lanes that connect, lanes that wait for an answer.
set_databases('idle', 'connecting', 'waiting');
create_ledger($node, $_) foreach qw(idle connecting waiting);
my $blocker = $node->background_psql('locked');
set_targets($node,
		'idle/a=' . store_url($node, 'store', table => 'idle', lanes => 3)
	  . " connecting/$hanging"
	  . ' waiting/w=' . store_url($node, 'locked'));

insert_events($node, 'idle', 100);
caught_up_ok($node, 'idle', 'a');
prompt_ok('postgres', 'DROP DATABASE idle', 'DROP DATABASE with idle lanes');

insert_events($node, 'connecting', 100);
ok($hang->await_connection($PostgreSQL::Test::Utils::timeout_default),
	'a lane waits for the other end to speak');
prompt_ok('postgres', 'DROP DATABASE connecting',
	'DROP DATABASE with a lane that waits for a connection');

insert_events($node, 'waiting', 10);
caught_up_ok($node, 'waiting', 'w');
$blocker->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
insert_events($node, 'waiting', 10, first => 11);
wait_until($node, 'locked',
	"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation ="
	  . " 'token_ledger_events'::regclass",
	'1', 'a lane waits for an answer');
prompt_ok('postgres', 'DROP DATABASE waiting',
	'DROP DATABASE with a lane that waits for an answer');
$blocker->query_safe('ROLLBACK;');
$blocker->quit;

# ALTER DATABASE RENAME.
set_databases('app', 'copy');
create_ledger($node, 'app');
set_targets($node, entry('mirror', 'public.mirror'));
insert_events($node, 'app', 500, per_transaction => 50);
forwarded_ok($node, 'app', 'mirror', $node, 'store', table => 'mirror');
prompt_ok('postgres', 'ALTER DATABASE app RENAME TO renamed',
	'ALTER DATABASE RENAME with lanes');
insert_events($node, 'renamed', 500, first => 501);
is( $node->safe_psql('renamed',
		'SELECT problem FROM token_ledger.status'),
	'this database is not in tokenledger.databases',
	'the new name is not in the settings, and status says so');
set_databases('renamed', 'copy');
forwarded_ok($node, 'renamed', 'mirror', $node, 'store', table => 'mirror',
	name => 'under the new name it goes on where it was');

# CREATE DATABASE ... TEMPLATE.
prompt_ok('postgres', 'CREATE DATABASE copy TEMPLATE renamed',
	'CREATE DATABASE from a template with lanes');
insert_events($node, 'copy', 100, first => 5001);
insert_events($node, 'renamed', 100, first => 1001);
wait_until($node, 'copy', 'SELECT state FROM token_ledger.status',
	'suspended', 'the copy is suspended');
like(
	$node->safe_psql('copy', 'SELECT last_error FROM token_ledger.status'),
	qr/copy/, 'and status says why');
forwarded_ok($node, 'renamed', 'mirror', $node, 'store', table => 'mirror',
	name => "the original's events arrive, the copy's do not");
identity_ok($node, $_) foreach qw(renamed copy);
set_databases('renamed');
prompt_ok('postgres', 'DROP DATABASE copy', 'the copy can be dropped');

# ALTER DATABASE ... SET TABLESPACE, there and back.
my $place = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$place'");
foreach my $tablespace (qw(elsewhere pg_default))
{
	prompt_ok('postgres', "ALTER DATABASE renamed SET TABLESPACE $tablespace",
		"ALTER DATABASE SET TABLESPACE $tablespace with lanes");
	insert_events($node, 'renamed', 50,
		first => $tablespace eq 'elsewhere' ? 1301 : 1351);
	forwarded_ok($node, 'renamed', 'mirror', $node, 'store',
		table => 'mirror', name => "in $tablespace it goes on where it was");
}

# DROP EXTENSION, first as if not.
my $session = $node->background_psql('renamed');
$session->query_safe('BEGIN; DROP EXTENSION tokenledger;');
$session->query_safe('ROLLBACK;');
$session->quit;
insert_events($node, 'renamed', 100, first => 1101);
forwarded_ok($node, 'renamed', 'mirror', $node, 'store', table => 'mirror',
	name => 'after a DROP EXTENSION that was rolled back it goes on');

prompt_ok('renamed', 'DROP EXTENSION tokenledger', 'DROP EXTENSION with lanes');
wait_until($node, 'renamed',
	"SELECT count(*) FROM pg_stat_activity"
	  . " WHERE backend_type = 'tokenledger lane'",
	'0', 'the lanes are gone');
set_targets($node, entry('again', 'public.again'));
create_ledger($node, 'renamed');
insert_events($node, 'renamed', 200);
forwarded_ok($node, 'renamed', 'again', $node, 'store', table => 'again',
	name => 'a new ledger in its place is taken up');
prompt_ok('postgres', 'DROP DATABASE renamed WITH (FORCE)',
	'DROP DATABASE WITH (FORCE)');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
