# Backend clickhouse-kafka with a real broker and ClickHouse's engine: the engine's
# own Kafka tables read the topic.  What is made, every kind of value, copies,
# messages that cannot be read, a road that is gone, versions, and a ClickHouse
# that is away.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use KafkaPeer;
use TokenLedger;

my $libdir = qx("$ENV{PG_CONFIG}" --pkglibdir);

chomp $libdir;
plan skip_all => kafka_hindrance() if kafka_hindrance();
plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();
plan skip_all => 'backend clickhouse-kafka was not built'
  unless -e "$libdir/tokenledger_clickhouse-kafka.so";

my $broker = KafkaPeer->new(password => 'secret');
my $store = ClickHousePeer->new;
my $node = ledger_node('clickhouse_kafka', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $files = PostgreSQL::Test::Utils::tempdir;
my $table = 'token_ledger_events';
my $next = 1;

$store->query('CREATE DATABASE llm');

sub url
{
	my ($topic, %options) = @_;
	my $database = delete $options{database} // 'llm';

	return $broker->url(
		$topic,
		clickhouse => "http://127.0.0.1:$store->{port}/$database",
		clickhouse_flush_interval => '200ms',
		ttl => 0,
		%options) =~ s/kafka:/clickhouse-kafka:/r;
}

sub sql
{
	return $node->safe_psql('app', $_[0]);
}

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, per_transaction => 17,
		%params);
	$next += $n;
	return;
}

sub store_has
{
	my ($query, $expected, $what) = @_;
	my $found;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(
		$broker->await(90,
			sub { ($found = $store->query($query)) eq $expected }), $what)
	  || diag("found $found, not $expected");
}

# What the topic has been given is in the table, once, and nothing else.
sub arrived_ok
{
	my ($target, %params) = @_;
	my $where = delete $params{where} // 'cost_usd IS DISTINCT FROM \'NaN\'';
	my $database = delete $params{database} // 'llm';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up_ok($node, 'app', $target);
	store_has(
		"SELECT count() FROM $database.$table FINAL",
		sql("SELECT count(*) FROM token_ledger.token_ledger_events WHERE $where"),
		"$target: as many as there are");
	return forwarded_ok($node, 'app', $target, $node, 'clickhouse_copy',
		where => $where,
		wait => 0,
		table => clickhouse_copy($node, $store, $table,
			database => $database, final => 1),
		%params);
}

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# What is made.
insert_some(700);
set_targets($node, 'main=' . url('events', lanes => 2, batch_rows => 100));
arrived_ok('main', name => 'every event is in the table');
status_is('main', 'state, remote_version, guarantee',
	'running|103|exactly once, per event', 'status says what is promised');
is( $store->query("SELECT name || ' ' || engine FROM system.tables"
		  . " WHERE database = 'llm' ORDER BY name"),
	join("\n",
		'token_ledger_errors ReplacingMergeTree',
		'token_ledger_events ReplacingMergeTree',
		'token_ledger_queue Kafka',
		'token_ledger_queue_errors MaterializedView',
		'token_ledger_queue_events MaterializedView',
		'token_ledger_schema_version ReplacingMergeTree',
		'token_ledger_source ReplacingMergeTree'),
	'tables and views');
is( $store->query("SELECT sorting_key FROM system.tables"
		  . " WHERE database = 'llm' AND name = '$table'"),
	'timestamp, provider, model, event_id', 'copies of an event are one row');
is( $node->safe_psql('app',
		"SELECT healthy, message FROM token_ledger.health_check('main')"),
	't|', 'health_check asks both');

# Borders of types, and what ClickHouse does not hold: refused before it is sent.
# (An event that goes along with those is what shows that they are to blame.)
sql(<<'EOC');
BEGIN;
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp",
	duration_ms, input_tokens, cost_usd, user_id, app_name, metadata,
	metadata_extra, request_preview) VALUES
('edge', '', '1900-01-01 00:00:00Z', 'NaN', 9223372036854775807,
	9999999999.99999999, '', '', '{}', '[]', repeat('z', 100000)),
('edge', 'b', '2299-12-31 23:59:59.999999Z', 'infinity', -9223372036854775808,
	-9999999999.99999999, E'\\N', E'\t\n\\', '{"a": {"b": [1, null]}}', '17',
	(SELECT string_agg(chr(i), '') FROM generate_series(1, 20000) i)),
('edge', 'c', '1969-12-31 23:59:59.999999Z', '-infinity', 0, 0.00000001,
	E'\'"`', 'é', '{"a": "\u00e9"}', 'true', NULL),
('edge', 'd', '2026-01-01Z', 1e-300, -1, -0.00000001, NULL, NULL, NULL, NULL,
	NULL);
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp") VALUES
('00000000-0000-0000-0000-000000000001', 'beyond', '', '1899-12-31Z'),
('00000000-0000-0000-0000-000000000002', 'beyond', '', '2300-01-01Z');
COMMIT;
EOC
my $held = "cost_usd IS DISTINCT FROM 'NaN' AND provider <> 'beyond'";

arrived_ok('main', where => $held, name => 'borders of types');
is( sql("SELECT count(*) FILTER (WHERE reason LIKE '%1900 to 2299%'),"
		  . " count(*) FILTER (WHERE reason LIKE '%NaN%'), count(*)"
		  . ' FROM token_ledger.dead_letter'),
	sql("SELECT 2, count(*), count(*) + 2 FROM"
		  . " token_ledger.token_ledger_events WHERE cost_usd = 'NaN'"),
	'what a table of ClickHouse cannot hold is a dead letter');

# The same messages again, and what is none of ours.
my @messages = $broker->messages('events');

$broker->send('events', map { [ $_->{key}, $_->{value} ] } @messages);
$broker->send('events', [ 'a', 'not json' ], [ 'b', '{"event_id": "no uuid"}' ]);
store_has('SELECT count() FROM llm.token_ledger_errors FINAL', 2,
	'messages that cannot be read are kept');
is( $store->query("SELECT key, topic, message, error != '' FROM"
		  . ' llm.token_ledger_errors FINAL ORDER BY key'),
	"a\tevents\tnot json\t1\nb\tevents\t{\"event_id\": \"no uuid\"}\t1",
	'with what was in them');
arrived_ok('main', where => $held, name => 'copies make no second row');

# Audit is the table's.
sub job_like
{
	my ($call, $message, $what) = @_;
	my $job = sql("SELECT token_ledger.$call");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like(
		psql_output($node, 'app',
			"CALL token_ledger.wait_for_job($job, '5 min')"),
		$message, $what);
}

job_like("reconcile('main', NULL, NULL)", qr/ 0 differ$/,
	'the table has what the ledger has');
$store->query("ALTER TABLE llm.$table DELETE WHERE event_id ="
	  . " toUUID('$messages[0]{key}') SETTINGS mutations_sync = 2");
job_like("reconcile('main', NULL, NULL, true)", qr/1 events missing.*1 sent again$/,
	'what is missing is sent again');
arrived_ok('main', where => $held, name => 'and arrives');

# A road that is gone.
$store->query('DROP TABLE llm.token_ledger_queue_events SYNC');
sql("SELECT token_ledger.pause('main'), token_ledger.resume('main')");
set_targets($node, '');
set_targets($node, 'main=' . url('events', batch_rows => 100));
status_is('main', "state, last_error ~ 'no view .*queue_events'", 'error|t',
	'a view that is missing is named, and nothing is sent');
insert_some(50);
sql("SELECT token_ledger.create_schema('main')");
arrived_ok('main', where => $held, name => 'create_schema() makes it anew');

# Another road: what the URL says now.
set_targets($node, 'main='
	  . url('events', batch_rows => 100, clickhouse_flush_interval => '100ms'));
status_is('main', "state, remote_differences ~ 'other settings'", 'running|t',
	'settings that differ are told');

# Versions, down and up.
sub move_to
{
	my ($call, $version, $target) = (@_, 'main');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sql("CALL token_ledger.wait_for_job(token_ledger.$call, '2 minutes')");
	return status_is($target, 'state, remote_version', "running|$version", $call);
}

move_to("rollback('main', 101)", 101);
is( $store->query("SELECT countIf(table = '$table'), countIf(table ="
		  . " 'token_ledger_queue') FROM system.columns"
		  . " WHERE database = 'llm' AND name = 'feature'"),
	"0\t0", 'the columns of 1.3 are gone from table and queue');
status_is('main', "coalesce(remote_differences, '') ~ 'other settings'", 'f',
	'and the new road is as the URL says');
insert_some(50);
caught_up_ok($node, 'app', 'main');
move_to("migrate('main')", 103);
insert_some(50, set => { feature => "'search'" });
job_like("replay('main', NULL, NULL)", qr/./,
	'all of it once more, for the columns that had gone');
store_has(
	"SELECT count() FROM llm.$table FINAL WHERE metadata_extra IS NOT NULL",
	3, 'the newer copy of an event is the one that stays');
arrived_ok('main', where => $held, name => 'every event is there afterwards');
is( $store->query("SELECT count() FROM llm.$table FINAL"
		  . " WHERE feature = 'search'"),
	sql("SELECT count(*) FROM token_ledger.token_ledger_events"
		  . " WHERE feature = 'search' AND $held"),
	'with the columns of the newest version');

# JSON as JSON, in a table of another name.
$store->query('CREATE DATABASE json');
set_targets($node, 'json='
	  . url('json', database => 'json', json => 'JSON', table => 'usage'));
caught_up_ok($node, 'app', 'json');
store_has(
	"SELECT count() FROM json.usage FINAL WHERE metadata.n::Int64 > 0",
	sql("SELECT count(*) FROM token_ledger.token_ledger_events WHERE"
		  . " (metadata->>'n')::int > 0 AND $held"),
	'JSON can be reached by path');

# A table that is made at an older version, and stays there, has a road as well.
$store->query('CREATE DATABASE old');
set_targets($node, 'old='
	  . url('old', database => 'old', auto_migrate => 'off'));
status_is('old', "state, last_error ~ 'create_schema'", 'error|t',
	'with auto_migrate=off nothing is made');
move_to("migrate('old', 101)", 101, 'old');
caught_up_ok($node, 'app', 'old');
store_has(
	"SELECT count() FROM old.$table FINAL",
	sql("SELECT count(*) FROM token_ledger.token_ledger_events WHERE $held"),
	'old: as many as there are');

# What may not be said.
sub refused
{
	my ($name, $expected, $url) = @_;

	set_targets($node, "$name=$url");
	return status_is($name, 'state, cause, last_error', $expected,
		"$name: status says why");
}

append_to_file("$files/password", "secret\n");
chmod 0600, "$files/password" or die "$files/password: $!";
refused('nowhere', qr/option "clickhouse"/,
	$broker->url('a') =~ s/kafka:/clickhouse-kafka:/r);
refused('user', qr/clickhouse_user/,
	url('a', clickhouse => 'http://u%40127.0.0.1/llm'));
refused('scheme', qr/does not begin with https/,
	url('a', clickhouse => 'tcp://127.0.0.1/llm'));
refused('native', qr/native port/,
	url('a', clickhouse => 'http://127.0.0.1:9000/llm'));
refused('reader', qr/clickhouse_collection/,
	url('a',
		user => 'ledger',
		port => $broker->{sasl_port},
		sasl => 'PLAIN',
		password_file => "$files/password"));
refused('stranger', qr/^error\|auth\|/,
	url('a', clickhouse_user => 'nobody'));
refused('format', qr/event\.proto/, url('a', format => 'protobuf'));
refused('database', qr/^error\|schema\|/, url('a', database => 'none'));

# ClickHouse goes away: the topic takes the events all the same.  The lane has
# looked at the table before; one that starts now could not.
set_targets($node, 'main=' . url('events', batch_rows => 100));
insert_some(10);
caught_up_ok($node, 'app', 'main');
$store->kill9;
insert_some(100);
kafka_forwarded_ok($node, 'app', 'main', $broker,
	topic => 'events',
	where => $held,
	at_least_once => 1,
	ours => 1,
	name => 'without ClickHouse the topic takes the events');
identity_ok($node, 'app', 'the identity holds at the end');

done_testing();
