# A primary with a synchronous standby is killed under load, and the standby is
# promoted.  Whatever was acknowledged to the application is in the promoted
# ledger and in each store once, with and without a unique index there; and
# nothing was ever sent that the standby did not have, not even an event whose
# inserter gave up waiting for it.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $store = PostgreSQL::Test::Cluster->new('store');
$store->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$store->start;
create_store($store, $_) foreach qw(indexed bare);

my $primary = ledger_node('primary', streaming => 1, conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
EOC
my $events = 'token_ledger.token_ledger_events';
my $dir = PostgreSQL::Test::Utils::tempdir;
my $started = 0;

set_targets($primary, join ' ',
	map { "$_="
		  . store_url($store, $_, batch_rows => 20, claim_rows => 60,
			lanes => 2) } qw(indexed bare));
wait_until($store, 'bare',
	"SELECT to_regclass('token_ledger_events') IS NOT NULL",
	't', 'the table is made');
$store->safe_psql('bare',
	'ALTER TABLE token_ledger_events DROP CONSTRAINT token_ledger_events_pkey;'
	  . ' SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE application_name LIKE 'tokenledger %'");

# The standby has no standby of its own.
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres',
	q(ALTER SYSTEM SET synchronous_standby_names = '*'));
$primary->restart;
wait_until($primary, 'app', 'SELECT sync_state FROM pg_stat_replication',
	'sync', 'the standby is synchronous');
wait_until(
	$standby,
	'app',
	'SELECT DISTINCT problem FROM token_ledger.status',
	'this server is a standby: it forwards once it is promoted',
	'status says what the standby is');

insert_events($primary, 'app', 200, per_transaction => 10);
all_arrive($primary, 'with the standby');

# An event that the standby cannot get: its inserter gives up, so that it is
# visible, and a lane claims it.  The claim is not durable before the standby
# has it, and with it the event; so nothing is sent.
my $sender = $primary->safe_psql('postgres',
	'SELECT pid FROM pg_stat_replication');

kill 'STOP', $sender;
my $given_up = start_psql($primary, <<'EOC');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
VALUES (md5('event 9001')::uuid, 'p', 'given up');
EOC
wait_until($primary, 'postgres',
	"SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
	  . " WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'",
	't', 'the inserter gives up');
$given_up->{run}->finish;
like(slurp_file($given_up->{err}), qr/canceling wait for synchronous replication/,
	'its transaction may be lost');
is($primary->safe_psql('app', "SELECT count(*) FROM $events"),
	'201', 'and is visible');
wait_until($primary, 'app',
	'SELECT count(*) FROM pg_stat_activity'
	  . " WHERE wait_event = 'SyncRep' AND backend_type LIKE 'tokenledger%'",
	'2', 'a lane of each target waits for the standby');
stored_are(200, 'nothing is sent that the standby does not have');

# That primary dies so.
kill_server($primary, $sender);
$standby->promote;
wait_until($standby, 'app',
	"SELECT string_agg(DISTINCT state, ' '), count(problem)"
	  . ' FROM token_ledger.status',
	'running|0', 'promoted, it forwards');
is($standby->safe_psql('app', "SELECT count(*) FROM $events"),
	'200', 'the event is lost, as its inserter was told');
insert_events($standby, 'app', 50, first => 201);
all_arrive($standby, 'after the promotion');
insert_events($standby, 'app', 1, first => 9001);
all_arrive($standby, 'with the one that was given up');

# The same under load, with a new standby.
$standby->backup('second');
my $next = PostgreSQL::Test::Cluster->new('next');
$next->init_from_backup($standby, 'second', has_streaming => 1);
$next->append_conf('postgresql.conf',
	"primary_conninfo = '" . $standby->connstr . "'");
$next->start;
$standby->safe_psql('postgres',
	q(ALTER SYSTEM SET synchronous_standby_names = '*'));
$standby->restart;
wait_until($standby, 'app', 'SELECT sync_state FROM pg_stat_replication',
	'sync', 'the next standby is synchronous');

my @writers = map {
	start_psql($standby, join '', map { <<EOC } ($_ * 20_000) .. ($_ * 20_000 + 9_999))
INSERT INTO $events (event_id, provider, model, total_tokens)
VALUES (md5('load $_')::uuid, 'p', 'm', $_) RETURNING event_id;
EOC
} 1 .. 2;

wait_until($standby, 'app',
	'SELECT min(forwarded) > 600 AND max(in_flight) > 0'
	  . ' FROM token_ledger.status',
	't', 'events are written and sent');
kill_server($standby);
$_->{run}->finish foreach @writers;
$next->promote;

my @acknowledged = map { split /\n/, slurp_file($_->{out}) } @writers;

cmp_ok(scalar @acknowledged, '>', 200, 'many were acknowledged');
my %there = map { $_ => 1 } split /\n/,
  $next->safe_psql('app', "SELECT event_id FROM $events");

is(join("\n", grep { !$there{$_} } @acknowledged),
	'', 'the promoted ledger has all that were acknowledged');
all_arrive($next, 'after the fail-over under load');
is( $next->safe_psql('app',
		'SELECT count(*), count(problem), count(last_error), sum(dead)'
		  . " FROM token_ledger.status WHERE state = 'running'"),
	'2|0|0|0',
	'status has nothing to complain of');
insert_events($next, 'app', 50, first => 301);
all_arrive($next, 'afterwards');
is( $next->safe_psql('app',
		"SELECT timeline FROM token_ledger.target WHERE name = 'bare'"),
	'3',
	'on the third timeline');
unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/,
	'nothing crashed on ' . $_->name)
  foreach $primary, $standby, $next;

done_testing();

sub all_arrive
{
	my ($node, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	forwarded_ok($node, 'app', $_, $store, $_, name => "$_ $what")
	  foreach qw(indexed bare);
	identity_ok($node, 'app', "the identity holds $what");
	return;
}

sub stored_are
{
	my ($n, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( $store->safe_psql($_,
			'SELECT count(*), count(DISTINCT event_id)'
			  . ' FROM token_ledger_events'),
		"$n|$n", "$_: $what")
	  foreach qw(indexed bare);
	return;
}

# Autocommit, one statement after the other, beside us.
sub start_psql
{
	my ($node, $sql) = @_;
	my $file = "$dir/" . ++$started;

	append_to_file("$file.sql", $sql);
	return {
		out => "$file.out",
		err => "$file.err",
		run => IPC::Run::start(
			[
				'psql', '-qXAt', '-d', $node->connstr('app'), '-f',
				"$file.sql"
			],
			'<', '/dev/null', '>', "$file.out", '2>', "$file.err")
	};
}

# Every process dies at once; what was stopped as well.
sub kill_server
{
	my ($node, @stopped) = @_;

	$node->kill9;
	kill 'KILL', @stopped if @stopped;
	return;
}
