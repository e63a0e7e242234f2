# Backend snowflake with the strict double, whose SQL a public emulator
# executes: the table it makes, every kind of value, what it refuses, tables
# that somebody else made, and names in their case.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use SnowflakePeer;
use TokenLedger;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

my $peer = SnowflakePeer->new;
my $node = ledger_node('snowflake', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# Every value.
insert_events($node, 'app', 400, per_transaction => 17);
set_targets($node, 'main=' . $peer->url(batch_rows => 100));
insert_events($node, 'app', 200, first => 401, per_transaction => 17);
snowflake_forwarded_ok($node, 'app', 'main', $peer);
status_is(
	'main',
	'state, remote_version, remote_differences',
	'running|103|',
	'status knows the table');
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(DISTINCT reason, ';'), count(*) = (SELECT count(*)
	FROM token_ledger.token_ledger_events WHERE cost_usd = 'NaN')
FROM token_ledger.dead_letter
EOC
	'column "cost_usd": a NUMBER cannot be NaN|t',
	'each event that it cannot hold is named, and why');
identity_ok($node, 'app');
is_deeply(
	{ $peer->streams },
	{
		'"APP"."LEDGER"."TOKEN_LEDGER_EVENTS_STREAM"' =>
		  '"APP"."LEDGER"."TOKEN_LEDGER_EVENTS"'
	},
	'there is a stream on the table');
is( join(';', map { "$_->[0]" } $peer->sql(
			'SELECT "VERSION" FROM "APP"."LEDGER"."TOKEN_LEDGER_SCHEMA_VERSION" ORDER BY 1'
	)),
	'100;101;102;103',
	'the versions are recorded');

# Borders of types, texts and JSON.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp",
	duration_ms, input_tokens, cost_usd, user_id, app_name, metadata,
	metadata_extra, request_preview) VALUES
('edge', '', '0001-01-01 00:00:00+00', 'NaN', 9223372036854775807,
	9999999999.99999999, '', '', '{}', '[]', repeat('z', 900000)),
('edge', 'b', '9999-12-31 23:59:59.999999+00', 'infinity', -9223372036854775808,
	-9999999999.99999999, E'\\N', E'\t\n\\', 'null', '"text"',
	(SELECT string_agg(chr(i), '') FROM generate_series(1, 55295) i)),
('edge', 'c', '1969-12-31 23:59:59.999999+00', '-infinity', 0, 0.00000001, E'\'"`',
	'é', '{"a": {"b": [1, 2.5, null, true, "\u00e9"]}}', '0.5',
	(SELECT string_agg(chr(i), '') FROM generate_series(57344, 1114111, 19) i)),
('edge', 'd', '2024-02-29 12:00:00.000001+00', 1e-300, -1, -0.00000001, NULL, NULL, NULL, NULL, NULL);
EOC
snowflake_forwarded_ok($node, 'app', 'main', $peer,
	name => 'borders of types, every character, 900 kB, JSON of every shape');

# What is beyond, each named.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp", request_preview) VALUES
('00000000-0000-0000-0000-000000000001', 'beyond', '', 'infinity', ''),
('00000000-0000-0000-0000-000000000002', 'beyond', '', '-infinity', ''),
('00000000-0000-0000-0000-000000000003', 'beyond', '', '0002-01-01 BC', ''),
('00000000-0000-0000-0000-000000000004', 'beyond', '', '10000-01-01', ''),
('00000000-0000-0000-0000-000000000005', 'beyond', '', now(), repeat('z', 1000000));
EOC
status_is('main', 'state, cause', 'error|data', 'events are refused');
# An event is set aside when the store has taken another one.
insert_events($node, 'app', 10, first => 701);
my $held = "($StoreCopy::POISON) IS NOT TRUE AND provider <> 'beyond'";

snowflake_forwarded_ok($node, 'app', 'main', $peer,
	where => $held,
	name => 'what comes after events that are refused arrives');
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(right(event_id::text, 1) || ': ' || reason, '; '
	ORDER BY event_id)
FROM token_ledger.dead_letter WHERE event_id::text LIKE '00000000%'
EOC
	join('; ',
		(map { "$_: column \"timestamp\": TIMESTAMP_NTZ holds times of the years 1 to 9999 only" } 1 .. 4),
		'5: the statement would be larger than the 1 MB that Snowflake takes'),
	'what it does not take is refused, by name');

# Rows that only Snowflake itself finds wrong, and does not name.
my @bad = map { sprintf '00000000-0000-0000-0001-%012d', $_ } 1 .. 2;

$peer->poison(@bad);
$node->safe_psql('app', <<"EOC");
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model, metadata)
SELECT ('00000000-0000-0000-0001-' || lpad(i::text, 12, '0'))::uuid,
	CASE WHEN i <= 2 THEN 'beyond' ELSE 'within' END, 'm', '{"secret": "of the event"}'
FROM generate_series(1, 20) i
EOC
snowflake_forwarded_ok($node, 'app', 'main', $peer,
	where => $held,
	name => 'the others of a statement that was refused arrive');
is( $node->safe_psql('app', <<'EOC'),
SELECT count(*), count(*) FILTER (WHERE reason LIKE '%secret%'),
	count(*) FILTER (WHERE reason LIKE '%100038%')
FROM token_ledger.dead_letter WHERE event_id::text LIKE '00000000-0000-0000-0001%'
EOC
	'2|0|2',
	'those that are to blame are found, and what was quoted is not shown');

# Statements are below 1 MB, however large the batch would be.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, request_preview)
SELECT 'large', 'm', repeat(E'"\\', 10000) FROM generate_series(1, 200)
EOC
snowflake_forwarded_ok($node, 'app', 'main', $peer,
	where => $held,
	name => 'a batch that becomes too large is split');

$peer->poison;
$held = "($StoreCopy::POISON) IS NOT TRUE AND (provider <> 'beyond'"
  . " OR event_id::text LIKE '00000000-0000-0000-0001-%')";

# Another table, its names exactly as written; and one by the path.
set_targets($node, join ' ',
	'exact=' . $peer->url(table => 'My Events', identifiers => 'exact',
		path => 'APP/LEDGER', warehouse => 'WH'),
	'path=' . $peer->url(path => 'app/ledger/by_path'));
foreach my $target (qw(exact path))
{
	caught_up_ok($node, 'app', $target);
}
is( join(';', map { $_->[0] } $peer->sql(
			'SELECT COUNT(*) FROM "APP"."LEDGER"."My Events"')),
	$node->safe_psql('app',
		"SELECT count(*) FROM token_ledger.token_ledger_events WHERE $held"),
	'identifiers=exact');
ok( (grep { $_->{sql} =~ /^CREATE TABLE IF NOT EXISTS "APP"\."LEDGER"\."My Events" \("event_id"/ }
		  $peer->journal),
	'the table has its name as it is written, its columns are in lower case');
snowflake_forwarded_ok($node, 'app', 'path', $peer, table => 'by_path',
	where => $held);

# Tables that somebody else made.
$peer->sql(<<'EOC');
CREATE TABLE "APP"."LEDGER"."WIDER" ("EVENT_ID" VARCHAR NOT NULL, "TRACE_ID" VARCHAR,
"SPAN_ID" VARCHAR, "PARENT_SPAN_ID" VARCHAR, "TIMESTAMP" TIMESTAMP_NTZ NOT NULL,
"DURATION_MS" FLOAT, "PROVIDER" VARCHAR NOT NULL, "MODEL" VARCHAR NOT NULL,
"INPUT_TOKENS" NUMBER(38,0), "OUTPUT_TOKENS" NUMBER(38,0), "TOTAL_TOKENS" NUMBER(38,0),
"COST_USD" NUMBER(30,10), "ENDPOINT" VARCHAR, "REQUEST_TYPE" VARCHAR, "USER_ID" VARCHAR,
"SESSION_ID" VARCHAR, "ORGANIZATION_ID" VARCHAR, "APP_NAME" VARCHAR, "ENVIRONMENT" VARCHAR,
"STATUS" VARCHAR, "ERROR_TYPE" VARCHAR, "ERROR_MESSAGE" VARCHAR, "METADATA" VARIANT,
"REQUEST_PREVIEW" VARCHAR, "RESPONSE_PREVIEW" VARCHAR, "NOTES" VARCHAR,
"CACHED_TOKENS" NUMBER(38,0), "FEATURE" VARCHAR, "PAGE" VARCHAR, "COMPONENT" VARCHAR,
"TEAM" VARCHAR, "PROJECT" VARCHAR, "COST_CENTER" VARCHAR, "METADATA_EXTRA" VARIANT)
EOC
$peer->sql('CREATE TABLE "APP"."LEDGER"."OTHER" ("ID" NUMBER(9,0) NOT NULL, "EVENT_ID" VARCHAR)');
set_targets($node, join ' ',
	map { "$_=" . $peer->url(table => $_) } qw(wider other));
caught_up_ok($node, 'app', 'wider');
is( join(';', map { $_->[0] } $peer->sql(
			'SELECT COUNT(*) FROM "APP"."LEDGER"."WIDER"')),
	$node->safe_psql('app',
		"SELECT count(*) FROM token_ledger.token_ledger_events WHERE $held"),
	'a table with wider types is filled');
status_is(
	'other',
	q{state, last_error LIKE '%column "trace_id" is missing%'},
	'error|t',
	'one of somebody else is left alone');

# What an administrator asks.
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(key || '=' || value, ' ' ORDER BY key)
FROM token_ledger.connection_info('wider')
WHERE key IN ('account', 'auth', 'database', 'schema', 'table', 'mode', 'warehouse')
EOC
	'account=MYORG-MYACCOUNT auth=key pair database=APP mode=sql schema=LEDGER table=WIDER warehouse=WH',
	'connection_info');

$node->stop;
done_testing();
