# What lanes must not do: write while there is nothing to do, hold back VACUUM
# while they wait for a store, hold up those who insert, or let one transaction
# that stays open hold up the events of others.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use HangingStore;
use TokenLedger;

my $hang = HangingStore->new;
my $node = ledger_node('idle', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 20ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
autovacuum = off
checkpoint_timeout = 1d
bgwriter_delay = 10s
EOC

create_store($node, $_) foreach qw(one two);
my $one = 'one=' . store_url($node, 'one', lanes => 2);
set_targets($node, $one);
insert_events($node, 'app', 200);
forwarded_ok($node, 'app', 'one', $node, 'one');

# The lanes' looks at the ledger are counted by its index.
my $looks = "SELECT idx_scan FROM pg_stat_user_indexes"
  . " WHERE indexrelname = 'token_ledger_events_ingest_key'";
my $written = "SELECT pg_current_wal_insert_lsn(), (SELECT string_agg(relname"
  . " || ' ' || n_tup_ins + n_tup_upd + n_tup_del, ', ' ORDER BY relname)"
  . " FROM pg_stat_user_tables)";

sub looks_taken
{
	my ($n, $what) = @_;
	my $before = $node->safe_psql('app', $looks);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app', "$looks AND idx_scan > $before + $n",
		qr/^\d+$/, $what);
}

# Nothing is written while something is done again and again.
#
# NB: what was written before may have an echo in the log (a page that is pruned
# by its next reader, a record of the running transactions), but one only.
sub writes_nothing
{
	my ($again, $what) = @_;
	my ($before, $after) = ('', '-');

	$node->safe_psql('postgres', 'CHECKPOINT');
	for (my $i = 0; $i < 5 && $before ne $after; $i++)
	{
		$before = $node->safe_psql('app', $written);
		$again->();
		$after = $node->safe_psql('app', $written);
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($after, $before, $what);
}

writes_nothing(
	sub { looks_taken(50, 'idle lanes look at the ledger many times') },
	'and write nothing');

# The same while a target is in error: told once, not at every attempt.
set_targets($node, "$one gone=postgresql://u\@127.0.0.1:1/d?retry_max=20ms");
wait_until($node, 'app',
	"SELECT state FROM token_ledger.status WHERE target = 'gone'",
	'error', 'a target is in error');
my $attempts = "SELECT attempts FROM token_ledger.lanes WHERE target = 'gone'";
writes_nothing(
	sub {
		my $so_far = $node->safe_psql('app', $attempts);

		wait_until($node, 'app', "SELECT ($attempts) > $so_far + 20",
			't', 'a failing lane tries again many times');
	},
	'and writes nothing');

# While stores keep lanes waiting: before they speak, and in an attempt.
set_targets($node, "$one two="
	  . store_url($node, 'two')
	  . ' hang=postgresql://u@127.0.0.1:' . $hang->port . '/d');
caught_up_ok($node, 'app', 'two');
my $gate = $node->background_psql('two');
$gate->query_safe('BEGIN; LOCK TABLE token_ledger_events;');
my $begun = time;
insert_events($node, 'app', 100, first => 201, per_transaction => 1);
cmp_ok(time - $begun, '<', 10,
	'100 transactions insert while stores keep lanes waiting');
wait_until($node, 'two',
	'SELECT count(*) FROM pg_locks WHERE NOT granted AND relation ='
	  . " 'token_ledger_events'::regclass",
	'1', 'a lane waits for an answer');
ok($hang->await_connection($PostgreSQL::Test::Utils::timeout_default),
	'a lane waits for a connection');
forwarded_ok($node, 'app', 'one', $node, 'one',
	name => 'a target is not held up by the others');
is( $node->safe_psql('app',
		"SELECT count(*), count(backend_xmin), count(backend_xid)"
		  . " FROM pg_stat_activity WHERE application_name ~"
		  . " '^tokenledger lane (two|hang)'"),
	'2|0|0', 'lanes that wait for a store hold no snapshot');
is( $node->safe_psql('app',
		"SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
		  . " WHERE a.application_name ~ '^tokenledger lane (two|hang)'"
		  . " AND l.locktype IN ('relation', 'transactionid', 'virtualxid')"),
	'0', 'and no lock but their own');
$gate->query_safe('ROLLBACK;');
forwarded_ok($node, 'app', 'two', $node, 'two',
	name => 'what had to wait arrives');
$gate->quit;

# A transaction that stays open.
set_targets($node, $one);
my $late = $node->background_psql('app');
$late->query_safe('BEGIN; INSERT INTO token_ledger.token_ledger_events'
	  . " (provider, model) VALUES ('provider', 'late');");
insert_events($node, 'app', 300, first => 301, per_transaction => 10);
forwarded_ok($node, 'app', 'one', $node, 'one',
	name => 'an open transaction does not hold up the events of others');
identity_ok($node, 'app');
insert_events($node, 'app', 300, first => 601, per_transaction => 10);
forwarded_ok($node, 'app', 'one', $node, 'one',
	name => 'nor later ones');
$late->query_safe('COMMIT;');
$late->quit;
forwarded_ok($node, 'app', 'one', $node, 'one',
	name => 'its own events arrive when it has committed');
is( $node->safe_psql('one',
		"SELECT count(*) FROM token_ledger_events WHERE model = 'late'"),
	'1', 'indeed');
identity_ok($node, 'app');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
