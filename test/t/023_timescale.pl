# Backend timescale with a real TimescaleDB, whatever its edition: the table it
# makes, events that are there already, values at the edges of time, years in
# one batch, roles that own nothing, tables of somebody else's.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TimescaleStore;
use TokenLedger;

plan skip_all => timescale_missing() if timescale_missing();

# With room for some 2,000 locks, where 400 new chunks take 5,000.
my $store = timescale_store('real', conf => <<'EOC');
max_locks_per_transaction = 10
max_connections = 30
EOC
my $node = ledger_node('timescale', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $EVENTS = 'token_ledger.token_ledger_events';
my $table = $store->table;
my $schema = $store->schema;
my $full = !timescale_full_missing($store);
my $lacking = qr/TimescaleDB [\d.]+ under the licence "apache" does not offer/;
my $next = 1;

note('the store is ' . $store->kind . ', version ' . $store->version
	  . ', licence ' . $store->license);

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, %params);
	$next += $n;
	return;
}

sub arrived_ok
{
	my ($target, $what, %params) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return forwarded_ok($node, 'app', $target, $store, $store->db,
		table => $table, name => $what, %params);
}

# The first lane makes the table.
insert_some(3000);
set_targets($node, 'warehouse=' . $store->url);
arrived_ok('warehouse', 'every event arrives');
is( $store->safe_psql(undef, <<EOC),
SELECT column_name, time_interval FROM timescaledb_information.dimensions
WHERE (hypertable_schema, hypertable_name) = ('$schema', 'token_ledger_events')
EOC
	'timestamp|1 day', 'in a hypertable on timestamp, in chunks of a day');
is( $store->safe_psql(undef, <<EOC),
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = '$table'::regclass AND contype IN ('p', 'u')
EOC
	'UNIQUE (event_id, "timestamp")', 'with its unique key');
status_is('warehouse', 'state, guarantee', 'running|exactly once, per event',
	'each event lands once');
status_is('warehouse', 'remote_differences',
	$full ? '' : qr/^$lacking: compression, continuous aggregate$/,
	'status says what the edition lacks');
like($node->safe_psql('app',
		"SELECT healthy, message FROM token_ledger.health_check('warehouse')"),
	qr/^t\|TimescaleDB [\d.]+ under the licence "\w+"$/,
	'health_check() names version and licence');

# By its other name; a retention policy is asked for.
set_targets(
	$node,
	'other=' . $store->url(table => "$schema.other", drop_after => '30d')
	  =~ s/^timescale:/tokenledger+timescaledb:/r);
arrived_ok('other', 'the alias is the same backend',
	table => "$schema.other");
status_is('other', 'backend, remote_differences',
	$full ? qr/^timescale\|$/ :
	  qr/^timescale\|$lacking: compression, continuous aggregate, retention policy$/,
	'what is lacking is named if it is asked for');

# Events that the store has already, by whatever way.
$store->safe_psql(undef, <<EOC);
DELETE FROM $table WHERE abs(hashtext(event_id::text)) % 3 = 0;
EOC
my $kept = $store->safe_psql(undef, "SELECT count(*) FROM $table");

set_targets($node, 'warehouse=' . $store->url);
$node->safe_psql('app', "SELECT token_ledger.retarget('warehouse', 'beginning')");
arrived_ok('warehouse', 'events that are there already are not doubled');
is( $node->safe_psql('app', <<EOC),
SELECT sum(rows_new) FROM token_ledger.lane l JOIN token_ledger.target t
	ON t.id = l.target_id WHERE t.name = 'warehouse'
EOC
	3000 - $kept, 'and not counted as new');

# Values at the edges of time; the one that no hypertable takes is set aside.
my @edges = (
	"'infinity'", "'4713-01-01 00:00:00+00 BC'", "'-infinity'",
	"'0001-01-01 00:00:00+00'", "'1969-12-31 23:59:59.999999+00'",
	"'294246-12-31 23:59:59.999999+00'");

insert_some(1, set => { timestamp => $_ }) foreach @edges;
insert_some(20);
status_is('warehouse', 'dead, state', '1|running',
	'a timestamp of -infinity is that event\'s refusal');
arrived_ok('warehouse', 'the others arrive',
	where => "\"timestamp\" <> '-infinity'");
like( $node->safe_psql('app',
		'SELECT code, reason FROM token_ledger.dead_letter'),
	qr/^22008\|.*timestamp out of range/,
	'the dead letter says why');

# Years of events in one batch: more chunks than a transaction can make.
insert_some(400,
	set => { timestamp => "timestamptz '2001-02-03 04:05Z' + i * interval '1 day'" });
arrived_ok('warehouse', 'years of events arrive from one transaction',
	where => "\"timestamp\" <> '-infinity'");
is( $store->safe_psql(undef, <<EOC),
SELECT count(*) >= 400 FROM timescaledb_information.chunks
WHERE (hypertable_schema, hypertable_name) = ('$schema', 'token_ledger_events')
EOC
	't', 'each day has its chunk');

# A role that owns nothing, after a table has been made for it.
SKIP:
{
	skip 'no role is made in a TimescaleDB of somebody else\'s', 3
	  unless $store->node;
	my $url = $store->url(table => "$schema.writer", user => 'writer');

	$store->safe_psql(undef, <<EOC);
CREATE ROLE writer LOGIN;
GRANT USAGE ON SCHEMA $schema TO writer;
EOC
	set_targets($node, 'writer=' . $store->url(table => "$schema.writer")
		  . '&start=now');
	status_is('writer', 'state, remote_version', 'running|103',
		'a table is made for a role');
	set_targets($node, "writer=$url&start=now");
	insert_some(10);
	status_is('writer', 'state, cause, code', 'error|auth|42501',
		'which has no rights on it yet');
	$store->safe_psql(undef, <<EOC);
GRANT SELECT, INSERT ON $schema.writer TO writer;
GRANT SELECT ON $schema.writer_schema_version, $schema.writer_source TO writer;
EOC
	insert_some(300,
		set => { timestamp => "timestamptz '2020-01-01Z' + i * interval '1 h'" });
	caught_up_ok($node, 'app', 'writer');
	is( $store->safe_psql(undef, "SELECT count(*) FROM $schema.writer"),
		310, 'INSERT and SELECT are enough, also where chunks are missing');
}

# Tables of somebody else's: no hypertable, and no key that a hypertable could
# have.  Both are filled, and what is wrong with them is said.
my $columns = $store->safe_psql(undef, <<EOC);
SELECT string_agg(quote_ident(attname) || ' '
	|| format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
FROM pg_attribute
WHERE attrelid = '$table'::regclass AND attnum > 0 AND NOT attisdropped
EOC
my $where = "\"timestamp\" <> '-infinity'";

$store->safe_psql(undef, <<EOC);
CREATE TABLE $schema.plain ($columns, UNIQUE ("timestamp", event_id));
CREATE TABLE $schema.byid ($columns, PRIMARY KEY (event_id));
EOC
set_targets($node,
	join ' ', map { "$_=" . $store->url(table => "$schema.$_") } qw(plain byid));
caught_up_ok($node, 'app', $_) foreach qw(plain byid);
status_is('plain', 'guarantee, remote_differences',
	qr/^exactly once, per event\|.*it is not a hypertable/,
	'a plain table with the key is no hypertable, but filled');
status_is('byid', 'guarantee, remote_differences',
	qr/^exactly once, by asking the store\|(?=.*it is not a hypertable).*no unique index on exactly \(event_id, "timestamp"\)/,
	'without the key the store is asked');

foreach my $name (qw(plain byid))
{
	my @found = forwarding_differences($node, 'app', $store, $store->db,
		table => "$schema.$name");

	is("@found", '', "$name holds every event, also that of -infinity");
}

# create_schema() makes one with the key a hypertable, with the events in it.
my ($code, $out, $err) = $node->psql('app',
	"SELECT token_ledger.create_schema('byid')");

like($err, qr/cannot create a unique index without the column "timestamp"/,
	'a table with another key cannot become a hypertable');
$store->safe_psql(undef,
	"CREATE TABLE $schema.few ($columns, UNIQUE (event_id, \"timestamp\"))");
set_targets($node, 'few=' . $store->url(table => "$schema.few", start => 'now'));
status_is('few', 'state, lag_events', 'running|0',
	'a table with the key is filled');
my $before = $next;

insert_some(10);
caught_up_ok($node, 'app', 'few');
$node->safe_psql('app', "SELECT token_ledger.create_schema('few')");
is( $store->safe_psql(undef, <<EOC),
SELECT count(*) FROM timescaledb_information.hypertables
WHERE (hypertable_schema, hypertable_name) = ('$schema', 'few')
EOC
	'1', 'and becomes one');
insert_some(10);
forwarded_ok($node, 'app', 'few', $store, $store->db,
	table => "$schema.few",
	where => "event_id IN (SELECT md5('event ' || i)::uuid"
	  . " FROM generate_series($before, $next) i)",
	name => 'with its events, and takes more');
identity_ok($node, 'app');
$node->stop;
done_testing();
