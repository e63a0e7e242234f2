# Backend timescale with compression, policies and a continuous aggregate: for
# a full TimescaleDB, which TIMESCALEDB_DSN names.  Events reach compressed
# chunks, also those that are there already; the policies' jobs run; the
# aggregate shows what the ledger's view shows.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TimescaleStore;
use TokenLedger;

plan skip_all => timescale_missing() if timescale_missing();
my $store = timescale_store('full');

plan skip_all => timescale_full_missing($store)
  if timescale_full_missing($store);

my $node = ledger_node('timefull', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my ($table, $schema) = ($store->table, $store->schema);
my $cagg = "$schema.token_ledger_daily_costs_cagg";
my $CHUNKS = <<EOC;
FROM timescaledb_information.chunks
WHERE (hypertable_schema, hypertable_name) = ('$schema', 'token_ledger_events')
EOC
my $next = 1;

# An event each hour, beginning 21 days ago.
my $hourly = "date_trunc('day', now()) - interval '21 days'"
  . " + (i %% 500) * interval '1 hour' + %d * interval '1 s'";

sub insert_some
{
	my ($n, $offset) = @_;

	insert_events($node, 'app', $n,
		first => $next,
		set => { timestamp => sprintf($hourly, $offset) });
	$next += $n;
	return;
}

sub arrived_ok
{
	my ($target, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return forwarded_ok($node, 'app', $target, $store, $store->db,
		table => $table, name => $what);
}

sub chunks
{
	my ($condition) = @_;

	return $store->safe_psql(undef, "SELECT count(*) $CHUNKS AND $condition");
}

sub run_job
{
	my ($proc) = @_;

	$store->safe_psql(undef, <<EOC);
SELECT format('CALL run_job(%s)', job_id) FROM timescaledb_information.jobs
WHERE proc_name = '$proc' AND ((hypertable_schema = '$schema'
	AND hypertable_name = 'token_ledger_events')
	OR (hypertable_schema, hypertable_name) IN (SELECT
		materialization_hypertable_schema, materialization_hypertable_name
		FROM timescaledb_information.continuous_aggregates
		WHERE view_schema = '$schema')
	OR (hypertable_schema, hypertable_name) =
		('$schema', 'token_ledger_daily_costs_cagg'))
\\gexec
EOC
	return;
}

insert_some(500, 0);
set_targets($node, 'warehouse=' . $store->url);
arrived_ok('warehouse', 'three weeks of events arrive');

# The policy compresses what is older than a week; later events meet it.
run_job('policy_compression');
cmp_ok(chunks('is_compressed'), '>=', 12, 'old chunks are compressed');
cmp_ok(chunks('NOT is_compressed'), '>=', 7, 'young ones are not');
insert_some(500, 1);
arrived_ok('warehouse', 'late events arrive in compressed chunks');

# Sent again: a third is missing, the others are in compressed chunks.
$store->safe_psql(undef, <<EOC);
SELECT count(decompress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass,
	true)) $CHUNKS AND is_compressed;
DELETE FROM $table WHERE abs(hashtext(event_id::text)) % 3 = 0;
SELECT count(compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass,
	true)) $CHUNKS;
EOC
my $kept = $store->safe_psql(undef, "SELECT count(*) FROM $table");

is(chunks('NOT is_compressed'), '0', 'all chunks are compressed');
set_targets($node, 'warehouse=' . $store->url);
$node->safe_psql('app', "SELECT token_ledger.retarget('warehouse', 'beginning')");
arrived_ok('warehouse', 'what is in compressed chunks is not doubled');
is( $node->safe_psql('app', <<EOC),
SELECT sum(rows_new) FROM token_ledger.lane l JOIN token_ledger.target t
	ON t.id = l.target_id WHERE t.name = 'warehouse'
EOC
	1000 - $kept, 'and not counted as new');

# The aggregate: all of it after a refresh, and what has come since.
$store->safe_psql(undef,
	"CALL refresh_continuous_aggregate('$cagg', NULL, NULL)");
run_job('policy_refresh_continuous_aggregate');
insert_some(50, 2);
insert_events($node, 'app', 20, first => 5001, set => { timestamp => 'now()' });
arrived_ok('warehouse', 'more events arrive');
$store->safe_psql(undef,
	"CALL refresh_continuous_aggregate('$cagg', NULL, now() - interval '2 days')");

my $sums = 'provider, model, request_count, total_input_tokens,'
  . ' total_output_tokens, total_tokens, total_cost, round(avg_latency_ms::numeric, 6)';

is( $store->safe_psql(undef,
		"SELECT (bucket AT TIME ZONE 'UTC')::date, $sums FROM $cagg ORDER BY 1, 2, 3"),
	$node->safe_psql('app', <<EOC),
SET TimeZone = 'UTC';
SELECT date, $sums FROM token_ledger.token_ledger_daily_costs ORDER BY 1, 2, 3
EOC
	'the aggregate shows what the ledger\'s view shows');

# What retention drops is known to be dropped, and is not missed.
set_targets($node,
	'kept=' . $store->url(table => "$schema.kept", drop_after => '14d'));
caught_up_ok($node, 'app', 'kept');
is($store->safe_psql(undef, "SELECT count(*) FROM $schema.kept"),
	1070, 'events arrive in a table with retention');
$store->safe_psql(undef, <<EOC);
SELECT format('CALL run_job(%s)', job_id) FROM timescaledb_information.jobs
WHERE proc_name = 'policy_retention' AND hypertable_schema = '$schema'
\\gexec
EOC
cmp_ok($store->safe_psql(undef, "SELECT count(*) FROM $schema.kept"),
	'<', 1000, 'old ones are dropped');
insert_events($node, 'app', 10, first => 6001, set => { timestamp => 'now()' });
caught_up_ok($node, 'app', 'kept');
is( $node->safe_psql('app', <<EOC),
SELECT state, keeps_from BETWEEN now() - interval '15 days'
	AND now() - interval '13 days'
FROM token_ledger.target WHERE name = 'kept'
EOC
	'running|t', 'the target goes on, and knows from when on events are kept');
identity_ok($node, 'app');
$node->stop;
done_testing();
