# Backend clickhouse with the real engine: the table it makes, every kind of
# value, what it refuses, tables that somebody else made, and who may not in.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use TokenLedger;

plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();

my $peer = ClickHousePeer->new(user => 'ledger', password => 'kept/secret');
my $files = PostgreSQL::Test::Utils::tempdir;
my $secret = "$files/password";

append_to_file($secret, "kept/secret\n");
chmod 0600, $secret or die "$secret: $!";

my $node = ledger_node('clickhouse', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $next = 1;

sub url
{
	return $peer->url(password_file => $secret, ttl => 0, @_);
}

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next, per_transaction => 17);
	$next += $n;
	return;
}

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# Every value, in each way to send it.
my %tables = (zstd => 'zstd', lz4 => 'lz4', plain => 'none');

insert_some(500);
set_targets($node, join ' ',
	'main=' . url(lanes => 2, batch_rows => 100),
	map { "$_=" . url(table => $_, compression => $tables{$_}) }
	  sort keys %tables);
insert_some(300);
clickhouse_forwarded_ok($node, 'app', 'main', $peer);
clickhouse_forwarded_ok($node, 'app', $_, $peer, table => $_)
  foreach sort keys %tables;
status_is(
	'main',
	'state, guarantee, remote_version, remote_differences',
	'running|exactly once, by asking the store|103|',
	'status knows the table');
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(DISTINCT reason, ';'), count(*) = (SELECT count(*) * 4
	FROM token_ledger.token_ledger_events WHERE cost_usd = 'NaN')
FROM token_ledger.dead_letter
EOC
	'column "cost_usd": a Decimal cannot be NaN|t',
	'each event that it cannot hold is named, and why');
identity_ok($node, 'app');

# Borders of types, texts and JSON.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp",
	duration_ms, input_tokens, cost_usd, user_id, app_name, metadata,
	metadata_extra, request_preview) VALUES
('edge', '', '1970-01-01 00:00:00Z', 'NaN', 9223372036854775807,
	9999999999.99999999, '', '', '{}', '[]', repeat('z', 1000000)),
('edge', 'b', '2299-12-31 23:59:59.999999Z', 'infinity', -9223372036854775808,
	-9999999999.99999999, E'\\N', E'\t\n\\', 'null', '"text"',
	(SELECT string_agg(chr(i), '') FROM generate_series(1, 55295) i)),
('edge', 'c', '1900-01-01 00:00:00Z', '-infinity', 0, 0.00000001, E'\'"`',
	'é', '{"a": {"b": [1, 2.5, null, true, "\u00e9"]}}', '1e400',
	(SELECT string_agg(chr(i), '') FROM generate_series(57344, 1114111, 19) i)),
('edge', 'd', '1969-12-31 23:59:59.999999Z', 1e-300, -1, -0.00000001, NULL,
	NULL, NULL, NULL, NULL);
EOC
clickhouse_forwarded_ok($node, 'app', 'main', $peer,
	name => 'borders of types, every character, 1 MB, JSON of every shape');

# What is beyond them, each named.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp") VALUES
('00000000-0000-0000-0000-000000000001', 'beyond', '', 'infinity'),
('00000000-0000-0000-0000-000000000002', 'beyond', '', '-infinity'),
('00000000-0000-0000-0000-000000000003', 'beyond', '', '2300-01-01Z'),
('00000000-0000-0000-0000-000000000004', 'beyond', '', '1899-12-31 23:59:59Z'),
('00000000-0000-0000-0000-000000000005', 'within', '', '2026-01-01Z');
EOC
my $held = "($StoreCopy::POISON) IS NOT TRUE AND provider <> 'beyond'";

clickhouse_forwarded_ok($node, 'app', 'main', $peer, where => $held,
	name => 'what goes along with events that are refused arrives');
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(right(event_id::text, 1), '' ORDER BY event_id), max(reason)
FROM token_ledger.dead_letter d JOIN token_ledger.target t ON t.id = d.target_id
WHERE t.name = 'main' AND event_id::text LIKE '00000000%'
EOC
	'1234|column "timestamp": DateTime64 holds times from 1900 to 2299 only',
	'times beyond its range are refused, by name');

# The engine's type JSON.
set_targets($node, 'json=' . url(table => 'json', json => 'JSON'));
is( $peer->query("SELECT 1"), '1', 'the peer answers');
wait_until($node, 'app',
	"SELECT lag_events FROM token_ledger.status WHERE target = 'json'",
	'0', 'json has caught up');
is( $peer->query("SELECT toTypeName(metadata), count(metadata) > 300,"
		  . ' sum(metadata.n::Int64) > 0 FROM json GROUP BY 1'),
	"Nullable(JSON)\t1\t1", 'JSON columns can be queried by path');
like(
	$node->safe_psql('app',
		"SELECT string_agg(DISTINCT reason, ';') FROM token_ledger.dead_letter d"
		  . " JOIN token_ledger.target t ON t.id = d.target_id"
		  . " WHERE t.name = 'json'"),
	qr/type JSON holds objects only/,
	'and what is no object is refused there');

# A batch over more months than one INSERT may have.
set_targets($node, 'months=' . url(table => 'months'));
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp")
SELECT 'months', 'm', timestamptz '1995-01-31 12:00Z' + i * interval '1 month'
FROM generate_series(1, 250) i, generate_series(1, 2)
EOC
clickhouse_forwarded_ok($node, 'app', 'months', $peer, table => 'months',
	where => $held, name => 'a batch over 250 months');
is( scalar(
		grep { $_->{query} =~ /`months`/ && $_->{status} != 200 }
		  $peer->journal(kind => 'insert')),
	0, 'no insert had more partitions than a server takes');
status_is('months', 'state, cause', 'running|', 'and none had to be split');

# A time to live: the store drops what is older and answers as always.
set_targets($node, 'ttl=' . url(table => 'kept', ttl => 90));
wait_until($node, 'app',
	"SELECT lag_events FROM token_ledger.status WHERE target = 'ttl'",
	'0', 'ttl has caught up');
$peer->query('OPTIMIZE TABLE kept FINAL');
is( $peer->query('SELECT countIf(timestamp < now() - toIntervalDay(91)),'
		  . ' countIf(timestamp > now()) > 0 FROM kept'),
	"0\t1", 'older events are gone, those of the far future are not');
is( $node->safe_psql('app',
		"SELECT keeps_from BETWEEN now() - interval '90 days 1 hour'"
		  . " AND now() - interval '89 days 23 hours'"
		  . " FROM token_ledger.status WHERE target = 'ttl'"),
	't', 'since when the store keeps events is known');

# A table with views: an insert of one is counted twice by the server.
set_targets($node, 'viewed=' . url(table => 'viewed'));
caught_up_ok($node, 'app', 'viewed');
$peer->query('CREATE TABLE viewed_models (model String, n UInt64)'
	  . ' ENGINE = SummingMergeTree ORDER BY model');
$peer->query('CREATE MATERIALIZED VIEW viewed_view TO viewed_models AS'
	  . ' SELECT model, count() AS n FROM viewed GROUP BY model');
$node->safe_psql('app', 'SELECT pg_terminate_backend(pid)'
	  . ' FROM token_ledger.lanes WHERE pid IS NOT NULL');
insert_some(100);
clickhouse_forwarded_ok($node, 'app', 'viewed', $peer, table => 'viewed',
	where => $held, name => 'a table with a view');
$peer->query('DROP VIEW viewed_view');
$peer->query('CREATE MATERIALIZED VIEW viewed_view TO viewed_models AS'
	  . ' SELECT toString(throwIf(1)) AS model, 1 AS n FROM viewed');
insert_some(50);
clickhouse_forwarded_ok($node, 'app', 'viewed', $peer, table => 'viewed',
	where => $held, name => 'a view that fails doubles nothing');
$peer->query('DROP VIEW viewed_view');

# A constraint: the server names the row, which alone is refused.
set_targets($node, 'checked=' . url(table => 'checked'));
caught_up_ok($node, 'app', 'checked');
$peer->query("ALTER TABLE checked ADD CONSTRAINT no_curse CHECK"
	  . " model != 'curse'");
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	user_id) SELECT md5('c' || i)::uuid, 'checked',
	CASE WHEN i % 40 = 3 THEN 'curse' ELSE 'fine' END, 'secret person'
FROM generate_series(1, 100) i
EOC
clickhouse_forwarded_ok(
	$node, 'app', 'checked', $peer,
	table => 'checked',
	where => "$held AND model <> 'curse'",
	name => 'what a constraint lets through arrives');
is( $node->safe_psql('app', <<'EOC'),
SELECT count(*), max(d.code), bool_or(reason ~ 'secret|curse')
FROM token_ledger.dead_letter d JOIN token_ledger.target t ON t.id = d.target_id
WHERE t.name = 'checked' AND event_id IN (SELECT event_id
	FROM token_ledger.token_ledger_events WHERE provider = 'checked')
EOC
	'3|469|f', 'what it does not is named, and none of its contents');

# Tables that somebody else made.
sub hand_made
{
	my ($name, $ddl, $expected) = @_;

	$peer->query("CREATE TABLE $name $ddl");
	set_targets($node, "$name=" . url(table => $name, start => 'now'));
	status_is($name, 'state, cause, last_error', $expected,
		"$name: status says what is wrong");
	return;
}

hand_made('partial', '(event_id UUID, x Int32) ENGINE = MergeTree ORDER BY x',
	qr/^error\|schema\|.*column "timestamp" is missing/);
my $columns = $peer->query(
	"SELECT arrayStringConcat(groupArray(concat('`', name, '` ', type)), ', ')"
	  . " FROM (SELECT * FROM system.columns WHERE table = 'token_ledger_events'"
	  . ' AND database = currentDatabase() ORDER BY position)'
	  . ' FORMAT TabSeparatedRaw');

hand_made('rounding',
	'(' . ($columns =~ s/Decimal\(18, 8\)/Decimal(18, 4)/r)
	  . ') ENGINE = MergeTree ORDER BY timestamp',
	qr/^error\|schema\|.*"cost_usd" is Nullable\(Decimal\(18, 4\)\) instead of/);
hand_made('forgetful', "($columns) ENGINE = Memory",
	qr/^error\|schema\|.*engine Memory does not keep every row/);
hand_made('replacing',
	"($columns) ENGINE = ReplacingMergeTree ORDER BY timestamp",
	qr/^error\|schema\|.*replaces rows of other events/);
hand_made('own',
	'(' . ($columns =~ s/LowCardinality\((\w+)\)/$1/gr)
	  . ', extra Nullable(Int8)) ENGINE = MergeTree ORDER BY event_id',
	qr/^running\|\|$/);
status_is('own', 'remote_differences', qr/extra column "extra"/,
	'a table that holds the same by other types is filled, and described');
insert_some(60);
caught_up_ok($node, 'app', 'own');
is($peer->query('SELECT count() > 50, countIf(extra IS NULL) > 50 FROM own'),
	"1\t1", 'and gets the events');

# Who may not in, and what is not there.
sub refused
{
	my ($name, $url, $expected) = @_;

	set_targets($node, "main=" . url(lanes => 2) . " $name=$url");
	status_is($name, 'state, cause, last_error', $expected,
		"$name: status says why");
	return;
}

append_to_file("$files/wrong", 'not it');
chmod 0600, "$files/wrong";
refused('wrong_password',
	$peer->url(password_file => "$files/wrong", table => 'a'),
	qr/^error\|auth\|.*ledger/);
refused('wrong_user', $peer->url(user => 'nobody', table => 'b'),
	qr/^error\|auth\|/);
refused('no_database', url(database => 'nowhere'),
	qr/^error\|schema\|.*nowhere/);
refused('native', 'clickhouse://u@127.0.0.1:9000/default',
	qr/\|9000 is ClickHouse's native port; use the HTTP port|native port/);
refused('plain_port', 'clickhouse://u@ch.example.com:8123/default',
	qr/tls=off/);
refused('two_hosts', 'clickhouse://u@a:8443,b:8443/default',
	qr/several hosts/);
refused('inline', 'clickhouse://u:pw@127.0.0.1:' . $peer->port . '/default',
	qr/^invalid\|.*password/s);
refused('bad_level', url(table => 'c', compression_level => 99),
	qr/^invalid\|.*compression_level/s);
refused('bad_table', url(table => 'a.b.c'), qr/table or database\.table/);
refused('no_key', url(table => 'd', key_file => '/k'), qr/cert_file/);
clickhouse_forwarded_ok($node, 'app', 'main', $peer, where => $held,
	name => 'the good target has gone on');

# The table is gone, and comes back.
$peer->query('RENAME TABLE token_ledger_events TO away');
insert_some(20);
status_is('main', 'state, cause, last_error',
	qr/^error\|schema\|the store has lost acknowledged events/,
	'a table that is gone is not made again');
$peer->query('RENAME TABLE away TO token_ledger_events');
clickhouse_forwarded_ok($node, 'app', 'main', $peer, where => $held,
	name => 'it goes on when the table is back');

# What can be asked.
is( $node->safe_psql('app',
		"SELECT healthy, message FROM token_ledger.health_check('main')"),
	't|', 'health_check');
like(
	$node->safe_psql('app',
		"SELECT key || '=' || value FROM token_ledger.connection_info('main')"),
	qr/url=http:..127\.0\.0\.1:\d+.*user=ledger/s,
	'connection_info');
is( $node->safe_psql('app',
		'SELECT display_name, jsonb, compression, upsert'
		  . " FROM token_ledger.backends() WHERE name = 'clickhouse'"),
	'ClickHouse|t|t|f', 'backends()');
is( scalar(grep { /kept.?secret/ } map { slurp_file($_) } $node->logfile),
	0, 'no secret in the log');
identity_ok($node, 'app', 'the identity holds at the end');

SKIP:
{
	my $trace = load_trace($node, 'app');
	my $hours =
		'count(), sum(input_tokens), sum(output_tokens), sum(cost_usd)';

	skip 'no trace of real requests in TOKENLEDGER_DATA', 1 unless $trace;
	caught_up_ok($node, 'app', 'main');
	is( $peer->query('SELECT toUnixTimestamp(toStartOfHour(timestamp)),'
			  . " $hours FROM token_ledger_events WHERE provider = 'azure'"
			  . ' GROUP BY 1 ORDER BY 1'),
		$node->safe_psql('app', <<'EOC') =~ s/\|/\t/gr,
SELECT extract(epoch from date_trunc('hour', "timestamp"))::bigint, count(*),
	sum(input_tokens), sum(output_tokens), trim_scale(sum(cost_usd))
FROM token_ledger.token_ledger_events WHERE provider = 'azure'
GROUP BY 1 ORDER BY 1
EOC
		'the real requests arrive hour by hour');
}

done_testing();
