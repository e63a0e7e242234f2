# Backend snowflake with mode=streaming and the strict double of Snowpipe
# Streaming: commits that are late, every error, channels that become invalid, rows
# that are dropped, tokens that end.  Nothing is lost and nothing doubled.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FaultTest;
use SnowflakePeer;
use TokenLedger;

plan skip_all => snowflake_hindrance() if snowflake_hindrance();

my $PATIENCE = $PostgreSQL::Test::Utils::timeout_default;
my $peer = SnowflakePeer->new;
my $node = fault_test('snowflake_streaming', $peer, \&snowflake_forwarded_ok,
	mode => 'streaming');
my $case = 0;

# 200 is not committed: nothing is acknowledged before.
my $fault;

begin('held');
$peer->request('POST', '/_hold', 'true');
$fault = $peer->fault(call => 'status', action => 'async', times => 0);
insert_some(20);
ok( $peer->await($PATIENCE, sub {
			(grep { $_->{id} == $fault } $peer->faults)[0]{fired} >= 2
			  && $node->safe_psql('app',
				"SELECT in_flight FROM token_ledger.status WHERE target = 'held'")
			  == 20;
		}),
	'appended rows are not acknowledged');
is( $node->safe_psql('app',
		"SELECT forwarded FROM token_ledger.status WHERE target = 'held'"),
	$node->safe_psql('app',
		'SELECT count(*) - 20 FROM token_ledger.token_ledger_events'),
	'before they are committed');
$peer->request('POST', '/_hold', 'false');
arrives('held', 'committed late');

# One fault at a time.
foreach my $c (
	[ 'the answer to the append is lost', { call => 'append', point => 'after', action => 'drop' } ],
	[ 'the append is lost on its way', { call => 'append', action => 'drop' } ],
	[ 'HTTP 503 after the append', { call => 'append', point => 'after', action => 'answer', status => 503 } ],
	[ 'HTTP 500 before the append', { call => 'append', action => 'answer', status => 500 } ],
	[ 'too many requests', { call => 'append', action => 'answer', status => 429, code => '390505' } ],
	[ 'too large', { call => 'append', action => 'answer', status => 413, code => 'ERR_PAYLOAD_TOO_LARGE' } ],
	(map {
			[ $_, { call => 'append', action => 'answer', status => 400, code => $_ } ]
		}
		qw(STALE_CONTINUATION_TOKEN_SEQUENCER STALE_PIPE_CACHE
		ERR_CHANNEL_MUST_BE_REOPENED ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER)),
	[ 'HTTP 409', { call => 'append', action => 'answer', status => 409, code => 'ERR_CHANNEL_HAS_INVALID_CLIENT_SEQUENCER' } ],
	[ 'the channel becomes invalid before the append', { call => 'append', action => 'invalidate' } ],
	[ 'the channel becomes invalid before the commit', { call => 'status', action => 'invalidate' } ],
	[ 'the status cannot be asked for once', { call => 'status', action => 'answer', status => 503 } ],
	[ 'the status is lost', { call => 'status', action => 'drop' } ])
{
	my ($name, $spec) = @$c;
	my $table = 'case_' . ++$case;

	begin($table);
	$peer->fault(%$spec);
	insert_some(20);
	arrives($table, $name);
	is(join(' ', map { $_->{fired} } $peer->faults), '1', "$name: it happened");
}

# Of a batch of two appends the first one was committed.
begin('partly', timeout => '2s', batch_rows => 10000);
$peer->fault(call => 'append', nth => 2, action => 'hang');
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, request_preview)
SELECT 'large', 'm', repeat('x', 100000) FROM generate_series(1, 60)
EOC
ok($peer->await($PATIENCE,
		sub { scalar grep { $_->{hanging} } $peer->faults }),
	'the second append does not end');
arrives('partly', 'the rest is sent');
$peer->clear_faults;

# Opening fails, and the token of the ingest host ends.
begin('tokens');
$peer->request('POST', '/_revoke_scoped');
insert_some(10);
arrives('tokens', 'a scoped token that is refused is renewed');
foreach my $call (qw(hostname token open))
{
	my $table = 'case_' . ++$case;

	$peer->clear_faults;
	$peer->fault(call => $call, action => 'answer', status => 503, times => 2);
	set_targets($node,
		"$table=" . $peer->url(table => $table, mode => 'streaming'));
	insert_some(10);
	arrives($table, "$call is answered at the third time");
}

# Rows that Snowflake drops are found, and the others are there.
my @bad = map { sprintf '00000000-0000-0000-0002-%012d', $_ } 1 .. 2;

begin('dropped');
$peer->poison(@bad);
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model)
SELECT ('00000000-0000-0000-0002-' || lpad(i::text, 12, '0'))::uuid, 'p', 'm'
FROM generate_series(1, 20) i
EOC
ok($peer->await($PATIENCE, sub { $peer->channel('dropped')->{rows_error_count} >= 2 }),
	'rows are dropped');
# An event is set aside when the store has taken another one.
insert_some(10);
arrives('dropped', 'rows that were dropped are not taken for committed',
	"event_id::text NOT IN ('" . join("','", @bad) . "')");
is( $node->safe_psql('app', <<'EOC'),
SELECT string_agg(event_id::text, ' ' ORDER BY event_id) FROM token_ledger.dead_letter
EOC
	"@bad", 'they are dead letters');
$peer->poison;
$node->safe_psql('app', "SELECT token_ledger.requeue('dropped')");
arrives('dropped', 'sent again when the store takes them');

# What cannot be.
foreach my $c (
	[ 'needs a key pair', user => undef, private_key_file => undef, pat_file => $peer->{key} ])
{
	my ($words, %options) = @$c;

	set_targets($node, 'wrong=' . $peer->url(mode => 'streaming', %options));
	wait_until($node, 'app', <<"EOC", 't', "refused: $words");
SELECT last_error LIKE '%$words%' FROM token_ledger.status WHERE target = 'wrong'
EOC
}
identity_ok($node, 'app', 'the identity holds at the end');
done_testing();
