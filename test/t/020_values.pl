# What a backend is given is what the ledger holds: every type to its edges,
# toasted texts, nulls, and in databases of other encodings.  The dump backend
# verifies the layout of each batch and writes the values down; here they are
# compared with the ledger's own.  An event that no column can carry is a dead
# letter that names the column.
#
# This is also what pins the stored form of numeric, which src/decimal.c reads.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $EVENTS = 'token_ledger.token_ledger_events';

# Values of columns that have edges; row i takes the i-th of each list.
my %edges = (
	'"timestamp"' => [
		"'infinity'", "'-infinity'", "'4713-01-01 00:00:00+00 BC'",
		"'294247-01-10 04:00:54.775806+00'",
		"'1999-12-31 23:59:59.999999+00'", "'1969-12-31 23:59:59.999999+00'"
	],
	duration_ms => [
		"'NaN'", "'Infinity'", "'-Infinity'", "'1e308'", "'5e-324'", "0.1"
	],
	cost_usd => [
		"'NaN'", '9999999999.99999999', '-9999999999.99999999',
		'0.00000001', '-0.00000001', '0'
	],
	input_tokens =>
	  [ '9223372036854775807', '-9223372036854775808', '0', '1', '-1', '7' ],
	metadata => [
		"'null'", "'{}'", "'[]'",
		q('{"a": [1, {"b": "x\\ny\\u0001\\"\\\\"}, [], {}], "": 1.50}'),
		"'\"scalar\"'", "'12345678901234567890.1e-5'"
	],
	request_preview =>
	  [ "''", "NULL", "E'\\n\\t\\x01\"\\\\'", "'a'", "'b'", "'c'" ]);

sub insert_edges
{
	my ($node, $database) = @_;

	foreach my $i (0 .. 5)
	{
		my @columns = sort keys %edges;
		my $values = join ', ', map { $edges{$_}[$i] } @columns;

		$node->safe_psql($database,
			"INSERT INTO $EVENTS (provider, model, trace_id, "
			  . join(', ', @columns)
			  . ") VALUES ('', 'm', gen_random_uuid(), $values)");
	}
	return;
}

# Toasted in each way, up to the size limit, and many rows with nulls.
sub insert_texts
{
	my ($node, $database) = @_;

	$node->safe_psql($database, <<EOS);
INSERT INTO $EVENTS (provider, model, request_preview, error_message, metadata)
SELECT 'toast', '', repeat('ab' || g, 3000),
	(SELECT string_agg(md5(i::text), '') FROM generate_series(g, 32768) i),
	jsonb_build_object('k', repeat('v' || g, 5000 * g))
FROM generate_series(1, 5) g;
INSERT INTO $EVENTS (provider, model, status, request_type, request_preview)
VALUES ('limit', '', NULL, NULL, repeat('x', 4 * 1024 * 1024 - 5));
INSERT INTO $EVENTS (provider, model, user_id, feature, duration_ms, cost_usd)
SELECT 'p' || g, repeat('m', g % 300), CASE g % 3 WHEN 0 THEN 'u' WHEN 1 THEN '' END,
	CASE WHEN g % 17 = 0 THEN 'f' END, CASE WHEN g % 2 = 0 THEN random() END,
	(random() * 10 ^ (g % 10))::numeric(18,8)
FROM generate_series(1, 25000) g;
EOS
	return;
}

sub insert_refused
{
	my ($node, $database) = @_;

	$node->safe_psql($database, <<EOS);
INSERT INTO $EVENTS (provider, model, "timestamp")
VALUES ('refused', 'timestamp', '294247-01-10 04:00:54.775807+00');
INSERT INTO $EVENTS (provider, model, status, request_type, request_preview)
VALUES ('refused', 'request_preview', NULL, NULL,
	repeat('x', 4 * 1024 * 1024 - 21));
INSERT INTO $EVENTS (provider, model, metadata)
SELECT 'refused', 'metadata', jsonb_agg(1e131071) FROM generate_series(1, 100);
EOS
	return;
}

# Lines that are no row of the ledger, and rows that are no line, as JSON.
sub differences
{
	my ($node, $database, $file) = @_;

	return $node->safe_psql($database, <<EOS);
SET TimeZone = 'UTC';
CREATE TEMP TABLE line (j text);
\\copy line FROM '$file' WITH (FORMAT csv, QUOTE E'\\x02', DELIMITER E'\\x03', ENCODING 'UTF8')
SELECT left(coalesce(j, e)::text, 300)
FROM (SELECT j::jsonb FROM line) l FULL JOIN
	(SELECT to_jsonb(e) - 'ingest_xid' - 'ingest_seq' AS e FROM $EVENTS e
	 WHERE provider <> 'refused') r
	ON j ->> 'event_id' = e ->> 'event_id'
WHERE j IS DISTINCT FROM e LIMIT 5;
EOS
}

sub values_arrive
{
	my ($node, $database, $file) = @_;

	caught_up_ok($node, $database, 'dump',
		name => "$database: dump has caught up");
	is(differences($node, $database, $file),
		'', "$database: each event has its values");
	is( $node->safe_psql($database, "SELECT count(*) FROM $EVENTS e, "
			  . 'token_ledger.dead_letter d WHERE e.event_id = d.event_id'
			  . " AND provider = 'refused' AND strpos(reason, model) > 0"),
		$node->safe_psql($database,
			"SELECT count(*) FROM $EVENTS WHERE provider = 'refused'"),
		"$database: dead letters name the column");
	is( $node->safe_psql($database,
			'SELECT count(*) FROM token_ledger.dead_letter d'
			  . " JOIN $EVENTS USING (event_id) WHERE provider <> 'refused'"),
		'0', "$database: there are no others");
	identity_ok($node, $database, 'dump');
	return;
}

# One database for each encoding that takes another way.
my @databases = qw(utf8 latin1 euc_jp sql_ascii);
my $files = PostgreSQL::Test::Utils::tempdir();
my $node = ledger_node('values', databases => ['utf8']);
my %texts = (
	latin1 => [ 'LATIN1', "'\\xe4f6fce9'::bytea" ],
	euc_jp => [ 'EUC_JP', "'\\xc6fccbdcb8ec'::bytea" ],
	sql_ascii => [ 'SQL_ASCII', "'\\xc3a42020'::bytea" ]);

foreach my $database (grep { $_ ne 'utf8' } @databases)
{
	my ($encoding, $bytes) = @{ $texts{$database} };

	$node->safe_psql('postgres', "CREATE DATABASE $database"
		  . " ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	create_ledger($node, $database);

	# Long enough for a character to stand on the edge of a chunk.
	$node->safe_psql($database,
		"INSERT INTO $EVENTS (provider, model, request_preview, metadata)"
		  . " SELECT '', pad, pad || repeat(t, 7001),"
		  . ' jsonb_build_object(t, t)'
		  . " FROM convert_from($bytes, '$encoding') t,"
		  . " unnest(ARRAY['', 'a', 'ab', 'abc']) pad");
}

# No character, but also no reason for PostgreSQL to refuse it.
$node->safe_psql('sql_ascii',
	"INSERT INTO $EVENTS (provider, model, endpoint)"
	  . " VALUES ('refused', 'endpoint', E'\\xe4')");
$node->safe_psql('euc_jp',
	"INSERT INTO $EVENTS (provider, model, endpoint)"
	  . " VALUES ('refused', 'endpoint', convert_from('\\xfefe', 'EUC_JP'))");

foreach my $database (@databases)
{
	insert_edges($node, $database);
	insert_texts($node, $database);
	insert_refused($node, $database);
}

set_targets($node,
	join ' ', map { "$_/dump=dump:///?path=$files/$_" } @databases);
$node->append_conf('postgresql.conf',
	"tokenledger.databases = '" . join(', ', @databases) . "'");
$node->reload;
values_arrive($node, $_, "$files/$_") foreach @databases;

done_testing();
