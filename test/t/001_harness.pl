# The checks that all other tests stand on: each must find what it is for.
# Plain tables take the place of the extension's.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::Builder::Tester;
use Test::More;

use TokenLedger;

my $node = PostgreSQL::Test::Cluster->new('harness');

$node->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$node->start;
create_store($node, 'app');
create_store($node, 'store');
create_store($node, 'store');

my $columns = <<'EOC';
	event_id uuid, trace_id uuid, "timestamp" timestamptz,
	duration_ms double precision, provider text, model text,
	input_tokens bigint, output_tokens bigint, total_tokens bigint,
	cost_usd numeric(18,8), user_id text, app_name text, metadata jsonb,
	request_preview text
EOC
$node->safe_psql('app', <<EOC);
CREATE SCHEMA token_ledger;
CREATE TABLE token_ledger.token_ledger_events ($columns,
	page text, ingest_seq bigint);
CREATE TABLE token_ledger.status (target text, lag_events bigint);
INSERT INTO token_ledger.status VALUES ('mirror', 0), ('slow', 5);
CREATE TABLE token_ledger.accounting (target text, difference bigint);
INSERT INTO token_ledger.accounting VALUES ('mirror', 0);
CREATE TABLE token_ledger.identity (target text, difference bigint);
INSERT INTO token_ledger.identity VALUES ('mirror', 0);
CREATE TABLE token_ledger.lanes (target text, lane int, pid int);
INSERT INTO token_ledger.lanes VALUES ('mirror', 1, 22), ('mirror', 0, 11),
	('other', 0, 33), ('mirror', 2, NULL);
CREATE TABLE token_ledger.target (name text);
CREATE TABLE token_ledger.lane (lane int);
EOC
$node->safe_psql('store', "CREATE TABLE public.token_ledger_events ($columns)");

# Carries all but the columns that the store lacks.
sub copy_events
{
	my $rows = $node->safe_psql('app',
		'COPY (SELECT event_id, trace_id, "timestamp", duration_ms,'
		  . ' provider, model, input_tokens, output_tokens, total_tokens,'
		  . ' cost_usd, user_id, app_name, metadata, request_preview'
		  . ' FROM token_ledger.token_ledger_events) TO STDOUT');
	my $file = "$PostgreSQL::Test::Utils::tmp_check/events";

	append_to_file($file, "$rows\n");
	$node->safe_psql('store',
		"\\copy public.token_ledger_events FROM '$file'");
	return;
}

sub differences
{
	my @found = forwarding_differences($node, 'app', $node, 'store', @_);

	return join ', ', sort map { s/ .*//r } @found;
}

sub store
{
	$node->safe_psql('store', "SET timezone = 'UTC'; $_[0]");
	return;
}

is(insert_events($node, 'app', 250, per_transaction => 100), 250,
	'events inserted');
is( $node->safe_psql('app',
		'SELECT count(*), count(DISTINCT event_id), count(DISTINCT xmin::text)'
		  . ' FROM token_ledger.token_ledger_events'),
	'250|250|3',
	'in transactions of the size asked for');
like(differences(), qr/^missing(, missing){249}$/, 'missing events are found');

copy_events();
is(differences(), '', 'equal sides do not differ');
forwarded_ok($node, 'app', 'mirror', $node, 'store');
identity_ok($node, 'app');
is(join(' ', lane_pids($node, 'app', 'mirror')), '11 22', 'pids of lanes');

store("UPDATE token_ledger_events SET cost_usd = cost_usd + 0.00000001"
	  . " WHERE event_id = md5('event 2')::uuid");
is(differences(), 'different', 'a changed value is found');
is( differences(where => "event_id <> md5('event 2')::uuid"),
	'extra', 'the condition limits the ledger, not the store');
store("DELETE FROM token_ledger_events WHERE event_id = md5('event 2')::uuid");
is(differences(), 'missing', 'a missing event is found');
store("INSERT INTO token_ledger_events SELECT * FROM token_ledger_events"
	  . " WHERE event_id = md5('event 3')::uuid");
is(differences(), 'doubled, missing', 'a doubled event is found');
store("UPDATE token_ledger_events SET event_id = gen_random_uuid()"
	  . " WHERE event_id = md5('event 4')::uuid");
is(differences(), 'doubled, extra, missing, missing',
	'an event that the ledger does not have is found');

# What fails must fail.
test_out('not ok 1 - never');
test_fail(+2);
test_err(qr/(#.*\n)+/);
wait_until($node, 'app', 'SELECT 1', '2', 'never', timeout => 0);
test_test(title => 'wait_until fails at its deadline', skip_err => 1);

test_out('not ok 1 - slow has caught up');
test_fail(+1);
caught_up_ok($node, 'app', 'slow', timeout => 0);
test_test(title => 'a lag is no success', skip_err => 1);

test_out('not ok 1 - x');
test_fail(+1);
forwarded_ok($node, 'app', 'mirror', $node, 'store', name => 'x', wait => 0);
test_test(title => 'differences are no success', skip_err => 1);

$node->safe_psql('app', 'UPDATE token_ledger.accounting SET difference = -1');
test_out('not ok 1 - y');
test_fail(+1);
identity_ok($node, 'app', 'y');
test_test(title => 'a broken identity is no success', skip_err => 1);
$node->safe_psql('app', <<'EOQ');
UPDATE token_ledger.accounting SET difference = 0;
UPDATE token_ledger.identity SET difference = 1;
EOQ
test_out('not ok 1 - y');
test_fail(+1);
identity_ok($node, 'app', 'y');
test_test(title => 'nor is one of the cheap view', skip_err => 1);

wait_until($node, 'app', 'SELECT 7', qr/^\d$/, 'a pattern is matched');
like(
	store_url($node, 'a', password_file => '/etc/a &b', user => 'u'),
	qr{^postgresql://u@/a\?host=[^&]+&password_file=/etc/a%20%26b&port=\d+$},
	'a URL is encoded');

$node->stop;
wait_until($node, 'app', 'SELECT 1', qr/could not connect|failed/,
	'a server that is down is an output');
done_testing();
