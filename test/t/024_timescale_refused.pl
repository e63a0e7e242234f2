# Servers that are no TimescaleDB, or not one that will do, and options that
# contradict each other: the target says what is wrong and what to do, and goes
# on by itself when that was done.  Needs no TimescaleDB.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TimescaleStore;
use TokenLedger;

my $node = ledger_node('timerefused', conf => <<'EOC');
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $store = PostgreSQL::Test::Cluster->new('plain');

$store->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$store->append_conf('postgresql.conf',
	"shared_preload_libraries = 'timescale_calls'");
$store->start;
create_store($store, 'warehouse');

sub url
{
	my (%options) = @_;

	return store_url($store, 'warehouse', %options) =~
	  s/^postgresql/timescale/r;
}

sub status_is
{
	my ($expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		'SELECT state, cause, code, last_error FROM token_ledger.status'
		  . " WHERE target = 'warehouse'",
		$expected, $what);
}

# A row in pg_extension is all that an extension of this name is.
sub claim_version
{
	my ($version) = @_;

	$store->safe_psql('warehouse',
		"UPDATE pg_extension SET extversion = '$version'"
		  . " WHERE extname = 'timescaledb'");
	return;
}

# Without the extension.
my $available = $store->safe_psql('warehouse',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'");

insert_events($node, 'app', 100);
set_targets($node, 'warehouse=' . url());
status_is(
	$available
	? qr/^error\|config\|42704\|database "warehouse" lacks .* run CREATE EXTENSION timescaledb there/
	: qr/^error\|config\|42704\|the server of database "warehouse" has no TimescaleDB; install it, or use the backend "postgres"/,
	'without the extension: status says how to get it');
is( $store->safe_psql('warehouse',
		"SELECT to_regclass('public.token_ledger_events')"),
	'', 'no table was made');
like(
	$node->safe_psql('app',
		"SELECT healthy, message FROM token_ledger.health_check('warehouse')"),
	qr/^f\|.*TimescaleDB|^f\|.*timescaledb/,
	'health_check() says it too');
my ($result, $out, $err) = $node->psql('app',
	"SELECT token_ledger.create_schema('warehouse')");
like($err, qr/could not look at the table of target "warehouse".*DETAIL:.*(TimescaleDB|timescaledb)/s,
	'and so does create_schema()');
identity_ok($node, 'app', 'the identity holds');

# The extension is there, but old; then it is new enough.
TimescaleStore::stand_in($store, 'warehouse', version => '2.12.2');
status_is(
	qr/^error\|config\|0A000\|TimescaleDB 2\.12\.2 is older than 2\.13; .*ALTER EXTENSION timescaledb UPDATE/,
	'too old: status says what to do');
claim_version('2.13.0');
status_is(qr/^running\|\|\|$/, 'it runs when the version will do');
forwarded_ok($node, 'app', 'warehouse', $store, 'warehouse');

# The extension is there, but its library was not preloaded.
my $conf = 'shared_preload_libraries';

$store->adjust_conf('postgresql.conf', $conf, "''");
$store->restart;
insert_events($node, 'app', 100, first => 101);
status_is(
	qr/^error\|config\|55000\|TimescaleDB is not loaded; .*shared_preload_libraries/,
	'not preloaded: status says what to do');
$store->adjust_conf('postgresql.conf', $conf, "'timescale_calls'");
$store->restart;
status_is(qr/^running\|\|\|$/, 'it runs when the library is loaded');
forwarded_ok($node, 'app', 'warehouse', $store, 'warehouse');

# Options that contradict each other, or are out of their range.  Of another
# table: a second name for the first one would stop before they are looked at.
my %wrong = (
	'cagg_start_offset=2d' => qr/"cagg_start_offset" must be two days longer/,
	'drop_after=3d' => qr/"drop_after" must not be shorter than "cagg_start/,
	'table=' . 'x' x 47 => qr/option "table" is longer than 46 bytes/,
	'chunk_interval=1s' => qr/"chunk_interval"/,
	'compress_after=7%20days' => qr/"compress_after"/);

foreach my $option (sort keys %wrong)
{
	my ($name, $value) = split /=/, $option;

	$value =~ s/%20/ /;
	set_targets($node,
		'other=' . url($name => $value) =~ s{/warehouse\?}{/elsewhere?}r);
	wait_until($node, 'app',
		"SELECT state, last_error FROM token_ledger.status"
		  . " WHERE target = 'other'",
		qr/^(error|invalid)\|.*$wrong{$option}/s,
		"$name=" . substr($value, 0, 10) . ': status says what is wrong');
}
set_targets($node, 'warehouse=' . url(cagg_start_offset => '2d', cagg => 'off'));
status_is(qr/^running\|\|\|$/, 'without an aggregate its options do not matter');

$node->stop;
$store->stop;
done_testing();
