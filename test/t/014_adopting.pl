# adopt() goes by what the store holds, event by event: a copy and its original
# that both went on, with different events of one hour whose sums are equal, are
# told apart.  A store that cannot be asked is not guessed at: there the caller
# chooses, everything or nothing.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('adopting', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $file = $node->basedir . '/spool';
my %equal = (
	timestamp => "timestamptz '2026-01-01 00:30Z'",
	input_tokens => '1',
	output_tokens => '2',
	total_tokens => '3',
	cost_usd => '0.5');

create_store($node, $_) foreach qw(indexed bare);
set_targets($node,
	'indexed=' . store_url($node, 'indexed')
	  . ' bare=' . store_url($node, 'bare')
	  . " file=spool:///?path=$file");

# A table without the index keeps no event from being doubled.
wait_until($node, 'bare',
	"SELECT to_regclass('token_ledger_events') IS NOT NULL",
	't', 'the table is made');
$node->safe_psql('bare',
	'ALTER TABLE token_ledger_events DROP CONSTRAINT token_ledger_events_pkey;'
	  . ' SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE application_name LIKE 'tokenledger %'");

insert_events($node, 'app', 100, per_transaction => 20);
caught_up_ok($node, 'app', $_) foreach qw(indexed bare file);
stored_are(100, 'before it is copied');

# Both go on, and their hours have equal sums.
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE app")
  foreach qw(copy later);
insert_events($node, 'app', 5, first => 201, set => \%equal);
caught_up_ok($node, 'app', $_) foreach qw(indexed bare file);
stored_are(105, 'by the original');
foreach my $copy (qw(copy later))
{
	insert_events($node, $copy, 5, first => 301, set => \%equal);
}
is(sums('copy', 'token_ledger.token_ledger_events'),
	sums('bare', 'token_ledger_events'),
	'the sums of every hour agree, and the events do not');
$node->safe_psql('postgres', q(ALTER SYSTEM SET tokenledger.databases = ''));
$node->reload;
wait_until($node, 'app',
	'SELECT count(*) FROM token_ledger.lanes WHERE pid IS NOT NULL',
	'0', 'the original forwards no more');

$node->safe_psql('postgres',
	q(ALTER SYSTEM SET tokenledger.databases = 'copy, later'));
$node->reload;
foreach my $copy (qw(copy later))
{
	wait_until($node, $copy,
		"SELECT string_agg(DISTINCT state, ' ') FROM token_ledger.status",
		'suspended', "$copy is suspended");
}

# What can be asked.
foreach my $target (qw(indexed bare))
{
	$node->safe_psql('copy', "SELECT token_ledger.adopt('$target')");
	caught_up_ok($node, 'copy', $target);
	is(stored($target), '110|110',
		"$target gets what it lacks, and nothing twice");
	is( $node->safe_psql('copy',
			'SELECT t.name, l.rows_new FROM token_ledger.lane l'
			  . ' JOIN token_ledger.target t ON t.id = l.target_id'
			  . ' JOIN token_ledger.cluster_key() k'
			  . ' ON t.database_oid = k.database_oid'
			  . " WHERE t.name = '$target'"),
		"$target|5",
		"$target: five were new");
}

# And reconcile shows what the original has added.
$node->safe_psql('copy',
	"SELECT token_ledger.reconcile('bare', NULL, NULL) AS job \\gset\n"
	  . "CALL token_ledger.wait_for_job(:job)");
is( $node->safe_psql('copy',
		'SELECT kind, count(*), bool_and(event_id IN ('
		  . " SELECT md5('event ' || i)::uuid FROM generate_series(201, 205) i))"
		  . ' FROM token_ledger.reconcile_findings GROUP BY 1'),
	'extra|5|t',
	'what only the original had is named by reconcile');

# What cannot be asked: nothing happens before somebody has chosen.
my ($code, undef, $error) =
  $node->psql('copy', "SELECT token_ledger.adopt('file')");

isnt($code, 0, 'a store that cannot be asked is not adopted just so');
like($error, qr/the store of target "file" cannot be asked what it lacks/,
	'and it says why');
like($error, qr/adopt\('file', 'everything'\).*adopt\('file', 'now'\)/s,
	'and what there is to choose');
is( $node->safe_psql('copy',
		"SELECT state, forwarded FROM token_ledger.status"
		  . " WHERE target = 'file'"),
	'suspended|0',
	'it is suspended still');
is(stored('file'), '105|105', 'nothing was sent');

$node->safe_psql('later', "SELECT token_ledger.adopt('file', 'now')");
wait_until($node, 'later',
	'SELECT state, skipped, forwarded FROM token_ledger.status'
	  . " WHERE target = 'file'",
	'running|105|0', 'nothing before now');
insert_events($node, 'later', 3, first => 401);
caught_up_ok($node, 'later', 'file');
is(stored('file'), '108|108', 'only what comes is sent');

$node->safe_psql('copy', "SELECT token_ledger.adopt('file', 'everything')");
caught_up_ok($node, 'copy', 'file');
is(stored('file'), '213|113', 'everything is sent, what was there twice');
identity_ok($node, $_) foreach qw(copy later);

# A target that the settings do not know any more.
set_targets($node, 'bare=' . store_url($node, 'bare'));
($code, undef, $error) =
  $node->psql('later', "SELECT token_ledger.adopt('indexed')");
like($error, qr/target "indexed" does not exist in this database/,
	'of a target without an entry it is not known what it can do');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');
done_testing();

# Rows and events.
sub stored
{
	my ($target) = @_;
	my %seen;

	return $node->safe_psql($target,
		'SELECT count(*), count(DISTINCT event_id) FROM token_ledger_events')
	  unless $target eq 'file';
	my @ids = map { (split /,/)[0] } split /\n/, slurp_file($file);

	$seen{$_} = 1 foreach @ids;
	return scalar(@ids) . '|' . scalar(keys %seen);
}

sub stored_are
{
	my ($n, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(stored($_), "$n|$n", "$_: $n events $what")
	  foreach qw(indexed bare file);
	return;
}

sub sums
{
	my ($database, $table) = @_;

	return $node->safe_psql($database,
		"SELECT date_trunc('hour', \"timestamp\", 'UTC'), count(*),"
		  . ' sum(total_tokens),'
		  . " sum(cost_usd) FILTER (WHERE cost_usd <> 'NaN')"
		  . " FROM $table GROUP BY 1 ORDER BY 1");
}
