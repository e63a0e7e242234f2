# Backend bigquery with the strict double: the table it makes, every kind of
# value in each mode, what it refuses, and tables that somebody else made.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;
use TokenLedger;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();

my $peer = BigQueryPeer->new;
my $node = ledger_node('bigquery', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $TABLES = '/bigquery/v2/projects/p/datasets/d/tables';
my @modes = qw(committed pending default insertall);

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# Every value, in each mode.
insert_events($node, 'app', 400, per_transaction => 17);
set_targets($node, join ' ',
	map { "$_=" . $peer->url(table => $_, mode => $_, batch_rows => 100) }
	  @modes);
insert_events($node, 'app', 200, first => 401, per_transaction => 17);
bigquery_forwarded_ok($node, 'app', $_, $peer, table => $_) foreach @modes;
status_is(
	'committed',
	'state, guarantee, remote_version, remote_differences',
	'running|exactly once, by asking the store|103|',
	'status knows the table');
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(DISTINCT reason, ';'), count(*) = (SELECT count(*) * 4
	FROM token_ledger.token_ledger_events WHERE cost_usd = 'NaN')
FROM token_ledger.dead_letter
EOC
	'column "cost_usd": a NUMERIC cannot be NaN|t',
	'each event that it cannot hold is named, and why');
identity_ok($node, 'app');

# Borders of types, texts and JSON.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp",
	duration_ms, input_tokens, cost_usd, user_id, app_name, metadata,
	metadata_extra, request_preview) VALUES
('edge', '', now() - interval '4 years 11 months', 'NaN', 9223372036854775807,
	9999999999.99999999, '', '', '{}', '[]', repeat('z', 1000000)),
('edge', 'b', now() + interval '11 months', 'infinity', -9223372036854775808,
	-9999999999.99999999, E'\\N', E'\t\n\\', 'null', '"text"',
	(SELECT string_agg(chr(i), '') FROM generate_series(1, 55295) i)),
('edge', 'c', now(), '-infinity', 0, 0.00000001, E'\'"`',
	'é', '{"a": {"b": [1, 2.5, null, true, "\u00e9"]}}', '0.5',
	(SELECT string_agg(chr(i), '') FROM generate_series(57344, 1114111, 19) i)),
('edge', 'd', now(), 1e-300, -1, -0.00000001, NULL, NULL, NULL, NULL, NULL);
EOC
bigquery_forwarded_ok($node, 'app', $_, $peer, table => $_,
	name => "$_: borders of types, every character, 1 MB, JSON of every shape")
  foreach @modes;

# The emulator's SQL reads them as BigQuery's types.
is( join('|', map { @$_ } $peer->query(<<'EOC')),
SELECT COUNT(*), COUNT(DISTINCT event_id), CAST(MAX(cost_usd) AS STRING),
	MAX(input_tokens) FROM `p.d.committed`
EOC
	'598|598|9999999999.99999999|9223372036854775807',
	'SQL sees the same');

# What is beyond, each named.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp") VALUES
('00000000-0000-0000-0000-000000000001', 'beyond', '', 'infinity'),
('00000000-0000-0000-0000-000000000002', 'beyond', '', '-infinity'),
('00000000-0000-0000-0000-000000000003', 'beyond', '', now() - interval '5 years 1 day'),
('00000000-0000-0000-0000-000000000004', 'beyond', '', now() + interval '1 year 1 day'),
('00000000-0000-0000-0000-000000000005', 'within', '', now());
EOC
my $held = "($StoreCopy::POISON) IS NOT TRUE AND provider <> 'beyond'";

foreach my $mode (@modes)
{
	bigquery_forwarded_ok($node, 'app', $mode, $peer, table => $mode,
		where => $held,
		name => "$mode: what goes along with events that are refused arrives");
}
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(right(event_id::text, 1) || ': ' || reason, '; '
	ORDER BY event_id)
FROM token_ledger.dead_letter d JOIN token_ledger.target t ON t.id = d.target_id
WHERE t.name = 'committed' AND event_id::text LIKE '00000000%'
EOC
	join('; ',
		(map { "$_: column \"timestamp\": TIMESTAMP holds times of the years 1 to 9999 only" } 1, 2),
		'3: column "timestamp": BigQuery takes no event of more than 5 years ago into a table that is partitioned by time',
		'4: column "timestamp": BigQuery takes no event of more than a year ahead into a table that is partitioned by time'),
	'times that it does not take are refused, by name');

# A row that only BigQuery itself finds wrong.
my @bad = map { sprintf '00000000-0000-0000-0001-%012d', $_ } 1 .. 2;

$peer->poison(@bad);
$node->safe_psql('app', <<"EOC");
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model, metadata)
SELECT ('00000000-0000-0000-0001-' || lpad(i::text, 12, '0'))::uuid, 'poison',
	'm', '{"prompt": "my secret"}' FROM generate_series(1, 9) i
EOC
my $taken = "$held AND event_id::text NOT IN ('" . join("','", @bad) . "')";

foreach my $mode (@modes)
{
	bigquery_forwarded_ok($node, 'app', $mode, $peer, table => $mode,
		where => $taken,
		name => "$mode: rows that are named are refused, the others arrive");
}
is( $node->safe_psql('app', <<'EOC'),
SELECT count(*), string_agg(DISTINCT reason, ';') FROM token_ledger.dead_letter
WHERE event_id::text LIKE '00000000-0000-0000-0001-%'
EOC
	'8|BigQuery cannot take its value of column "metadata"',
	'and only the column is named');

# The table.
my $table = $peer->request('GET', "$TABLES/committed");

is_deeply(
	[ @{ $table->{timePartitioning} }{qw(type field expirationMs)},
		$table->{clustering}{fields} ],
	[ 'DAY', 'timestamp', '7776000000', [qw(provider model user_id)] ],
	'partitions of a day that expire, and clustering');
is($table->{labels}{tokenledger_version}, '103', 'its version is a label');
is( $node->safe_psql('app', 'SELECT ledger_id FROM token_ledger.instance'),
	$table->{labels}{tokenledger_ledger},
	'and so is whose ledger fills it');

# A table at an older version, and one that cannot be the ledger's.
my @fields = @{ $table->{schema}{fields} };
my %new = map { $_ => 1 }
  qw(cached_tokens feature page component team project cost_center metadata_extra);

sub make_table
{
	my ($name, $labels, @columns) = @_;

	$peer->request('POST', $TABLES, {
			tableReference =>
			  { projectId => 'p', datasetId => 'd', tableId => $name },
			labels => $labels,
			schema => { fields => \@columns } });
	return;
}

make_table('old', { tokenledger_version => '100' },
	grep { !$new{ $_->{name} } } @fields);
make_table('other', {}, { name => 'a', type => 'STRING' });
set_targets($node, join ' ',
	map { "$_=" . $peer->url(table => $_, auto_migrate => 'on') }
	  qw(old other));
caught_up_ok($node, 'app', 'old');
is( $peer->request('GET', "$TABLES/old")->{labels}{tokenledger_version},
	'103', 'a table at version 1.0 gets the newer columns');
is( scalar(my @there = $peer->rows('old')),
	$node->safe_psql('app',
		"SELECT forwarded FROM token_ledger.status WHERE target = 'old'"),
	'and is filled');
status_is('other', "state, last_error LIKE '%column \"event_id\" is missing%'",
	'error|t', 'a table of somebody else is left alone');

# What cannot be undone.
like(($node->psql('app', "SELECT token_ledger.rollback('old', 100)"))[2],
	qr/schema version 101 of backend "bigquery" cannot be undone/,
	'a step that BigQuery cannot undo says so');

# Wrong URLs.
foreach my $case (
	[ 'bigquery://p', 'dataset' ],
	[ 'bigquery://p/d?endpoint=http://127.0.0.1:1', 'go together' ],
	[ 'bigquery://p/d?auth=none', 'emulator' ],
	[ 'bigquery://p/d?resolve=off', 'mode=default' ],
	[
		'bigquery://p/d?endpoint=http://store:1&grpc_endpoint=http://store:2',
		'not https'
	])
{
	set_targets($node, "wrong=$case->[0]");
	status_is('wrong', "state IN ('invalid', 'error'), last_error LIKE '%$case->[1]%'",
		't|t', "$case->[0] is refused");
}

done_testing();
