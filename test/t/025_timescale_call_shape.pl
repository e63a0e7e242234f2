# What a TimescaleDB is asked for: partitions, compression, policies and the
# continuous aggregate, each as the target's URL says.  Where no full edition
# is at hand (TIMESCALEDB_DSN names one), a stand-in takes the calls and shows
# them in views of the same names: then this says that the calls are
# well-formed, and no more.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TimescaleStore;
use TokenLedger;

my $node = ledger_node('timeshape', conf => <<'EOC');
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $store = timescale_store('shape', stand_in => 1);
my $schema = $store->schema;
my $JOBS = 'timescaledb_information.jobs';

note('the store is ' . $store->kind);
insert_events($node, 'app', 50);

# A column of a view of the table, or of the aggregate.
sub jobs
{
	my ($table, $columns, $proc) = @_;

	return $store->safe_psql(undef,
		"SELECT $columns FROM $JOBS WHERE proc_name = '$proc'"
		  . " AND hypertable_schema = '$schema'"
		  . " AND hypertable_name = '$table'");
}

sub shown
{
	my ($view, $columns, $condition) = @_;

	return $store->safe_psql(undef,
		"SELECT $columns FROM timescaledb_information.$view"
		  . " WHERE $condition");
}

# Versions list the refresh policy under one of two names.
sub refresh_policy
{
	my ($name) = @_;

	return $store->safe_psql(undef, <<EOC);
SELECT (j.config ->> 'start_offset')::interval,
	(j.config ->> 'end_offset')::interval, j.schedule_interval
FROM timescaledb_information.continuous_aggregates a
	JOIN $JOBS j ON (j.hypertable_schema, j.hypertable_name) IN
		((a.view_schema, a.view_name),
		(a.materialization_hypertable_schema, a.materialization_hypertable_name))
WHERE j.proc_name = 'policy_refresh_continuous_aggregate'
	AND (a.view_schema, a.view_name) = ('$schema', '$name')
EOC
}

sub arrives
{
	my ($target, $table) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return forwarded_ok($node, 'app', $target, $store, $store->db,
		table => $store->table($table), name => "$target: events arrive");
}

sub differences_are
{
	my ($target, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		'SELECT remote_differences FROM token_ledger.status'
		  . " WHERE target = '$target'",
		$expected, "$target: $what");
}

# With nothing but the defaults.
set_targets($node, 'plain=' . $store->url);
arrives('plain', 'token_ledger_events');
my $ours = "hypertable_schema = '$schema'"
  . " AND hypertable_name = 'token_ledger_events'";

is( shown('dimensions', 'column_name, time_interval', $ours),
	'timestamp|1 day', 'a hypertable on timestamp, in chunks of a day');
is( shown('hypertables', 'compression_enabled', $ours),
	't', 'it is compressed');
is( shown(
		'compression_settings',
		"string_agg(concat_ws(' ', attname, segmentby_column_index,"
		  . " orderby_column_index, orderby_asc), ', ' ORDER BY"
		  . ' segmentby_column_index, orderby_column_index)',
		$ours),
	'provider 1, model 2, timestamp 1 f',
	'by provider and model, ordered by timestamp descending');
is( jobs('token_ledger_events',
		"(config ->> 'compress_after')::interval", 'policy_compression'),
	'7 days', 'after seven days');
is(jobs('token_ledger_events', '1', 'policy_retention'),
	'', 'nothing is dropped unless asked for');
is( refresh_policy('token_ledger_daily_costs_cagg'),
	'7 days|01:00:00|01:00:00',
	'the aggregate is refreshed from seven days to an hour ago, hourly');
is( shown('continuous_aggregates', 'materialized_only',
		"view_schema = '$schema'"
		  . " AND view_name = 'token_ledger_daily_costs_cagg'"),
	'f', 'and adds what is newer');
is( $store->safe_psql(undef,
		"SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute"
		  . " WHERE attrelid = '$schema.token_ledger_daily_costs_cagg'::regclass"
		  . ' AND attnum > 0'),
	'bucket provider model request_count total_input_tokens'
	  . ' total_output_tokens total_tokens total_cost avg_latency_ms',
	'its columns');
differences_are('plain', '', 'no differences');
is( $node->safe_psql('app', 'SELECT keeps_from FROM token_ledger.target'),
	'', 'the store keeps all');

# Everything asked for otherwise.  A table of another name has companions of
# other names, quoted where they must be.
set_targets(
	$node,
	'other=' . $store->url(
		table => "$schema.Other 'table'",
		chunk_interval => '12h',
		compress_after => '36h',
		drop_after => '90d',
		cagg_start_offset => '30d',
		cagg_end_offset => '90min',
		cagg_schedule_interval => '2h'));
wait_until($node, 'app',
	"SELECT forwarded FROM token_ledger.status WHERE target = 'other'",
	'50', 'other: events arrive');
is( $store->safe_psql(undef, qq(SELECT count(*) FROM $schema."Other 'table'")),
	'50', 'other: the store has them');
is( shown('dimensions', 'time_interval',
		"hypertable_schema = '$schema' AND hypertable_name LIKE 'Other%'"),
	'12:00:00', 'chunk_interval');
is( jobs("Other ''table''",
		"(config ->> 'compress_after')::interval", 'policy_compression'),
	'36:00:00', 'compress_after');
is( jobs("Other ''table''",
		"(config ->> 'drop_after')::interval", 'policy_retention'),
	'90 days', 'drop_after');
is( refresh_policy("Other ''table''_daily_costs_cagg"),
	'30 days|01:30:00|02:00:00', 'the three options of the aggregate');
differences_are('other', '', 'no differences');
is( $node->safe_psql(
		'app',
		"SELECT abs(extract(epoch FROM now() - interval '90 days' - keeps_from))"
		  . " < 60 FROM token_ledger.target WHERE name = 'other'"),
	't', 'status knows from when on events are kept');

# The same table, asked for otherwise afterwards: nothing is altered, and
# status says what differs.
set_targets(
	$node,
	'other=' . $store->url(
		table => "$schema.Other 'table'",
		drop_after => '60d'));
differences_are(
	'other',
	qr/^its chunk interval is 12:00:00 instead of INTERVAL '1 day'; its chunks are compressed after (36:00:00|1 day 12:00:00) instead of INTERVAL '7 days'; its chunks are dropped after 90 days instead of INTERVAL '60 days'$/,
	'other options');
is( jobs("Other ''table''",
		"(config ->> 'drop_after')::interval", 'policy_retention'),
	'90 days', 'the policy is as it was');

# Nothing but a hypertable.
set_targets(
	$node,
	'bare=' . $store->url(
		table => "$schema.bare",
		compress_after => '0',
		cagg => 'off'));
arrives('bare', 'bare');
is( $store->safe_psql(undef, "SELECT count(*) FROM $JOBS"
		  . " WHERE hypertable_schema = '$schema' AND hypertable_name = 'bare'"),
	'0', 'without policies');
is( shown('hypertables', 'compression_enabled',
		"hypertable_schema = '$schema' AND hypertable_name = 'bare'"),
	'f', 'without compression');
is($store->safe_psql(undef, "SELECT to_regclass('$schema.bare_daily_costs_cagg')"),
	'', 'without an aggregate');
differences_are('bare', '', 'no differences');

# Later it is asked for all of it: said, not done.
set_targets($node,
	'bare=' . $store->url(table => "$schema.bare", drop_after => '30d'));
differences_are(
	'bare',
	'it is not compressed; continuous aggregate "bare_daily_costs_cagg" is'
	  . ' missing; it has no retention policy',
	'what is missing is named');

identity_ok($node, 'app');
$node->stop;
done_testing();
