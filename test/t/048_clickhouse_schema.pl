# The version of a table of ClickHouse, down and up again while events come:
# each gets the columns that the table has, and none is lost.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use TokenLedger;

plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();

my $peer = ClickHousePeer->new;
my $node = ledger_node('schema', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $inserted = 0;

sub sql
{
	return $node->safe_psql('app', $_[0]);
}

# With a value in a column of 1.1 and in one of 1.3.
sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n,
		first => $inserted + 1,
		per_transaction => 7,
		set => {
			cached_tokens => 3,
			feature => "'search'",
			cost_usd => 0.5
		});
	$inserted += $n;
	return;
}

sub status_is
{
	my ($columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = 'main'",
		$expected, $what);
}

sub move_to
{
	my ($call, $version) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sql("CALL token_ledger.wait_for_job(token_ledger.$call, '2 minutes')");
	is(sql("SELECT token_ledger.schema_version('main')"), $version, $call);
	status_is('state, remote_version', "running|$version",
		"the lane knows of $version");
	return;
}

sub columns
{
	return $peer->query("SELECT arrayStringConcat(groupArray(name || ' ' || type), ',') FROM"
		  . ' (SELECT name, type FROM system.columns WHERE table ='
		  . " 'token_ledger_events' AND database = 'default' ORDER BY name)");
}

insert_some(50);
set_targets($node, 'main=' . $peer->url(ttl => 0, lanes => 2));
clickhouse_forwarded_ok($node, 'app', 'main', $peer);
my $newest = columns();

is( sql("SELECT count(*), bool_and(applied), bool_and(reversible IS NOT"
		  . " DISTINCT FROM (version > 100)), bool_and(changes <> '')"
		  . " FROM token_ledger.available_migrations('main')"),
	'4|t|t|t',
	'each version says what it changes');

move_to("rollback('main', 101)", 101);
unlike(columns(), qr/feature/, 'the columns of 1.3 are gone');
like(columns(), qr/cached_tokens/, 'that of 1.1 is not');
insert_some(40);
caught_up_ok($node, 'app', 'main');
status_is("left_out->>'feature', left_out ? 'cached_tokens', hint ~ 'migrate'",
	'40|f|t', 'status names what was left out');

move_to("rollback('main', 100)", 100);
unlike(columns(), qr/cached_tokens/, 'nor that of 1.1');
insert_some(30);
caught_up_ok($node, 'app', 'main');
status_is("left_out->>'feature', left_out->>'cached_tokens'",
	'70|30', 'and of how many events');

move_to("migrate('main')", 103);
is(columns(), $newest, 'the table is as it was made');
insert_some(20);
caught_up_ok($node, 'app', 'main');
is( $peer->query("SELECT count(), uniqExact(event_id),"
		  . " countIf(feature = 'search'), countIf(cached_tokens = 3)"
		  . ' FROM token_ledger_events'),
	join("\t", $inserted, $inserted, 20, 20),
	'every event is there once; values of columns that were dropped are not');
identity_ok($node, 'app');
is( $peer->query('SELECT arrayStringConcat(groupArray(toString(version)),'
		  . " ' ') FROM (SELECT version FROM token_ledger_schema_version"
		  . ' ORDER BY version)'),
	'100 101 102 103', 'the store has a record of each version');

$node->stop;
$peer->stop;
done_testing();
