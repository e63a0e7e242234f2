# Backend snowflake with mode=streaming and the strict double of Snowpipe
# Streaming: lanes and a peer that are killed between append and settlement, the
# way to mode=sql and back, a channel for each lane; values, and a batch of several
# appends.  Nothing is lost and nothing doubled.
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
my $node = fault_test('snowflake_channels', $peer, \&snowflake_forwarded_ok,
	mode => 'streaming');

# Lanes that are killed.
begin('killed');
foreach my $c ([ 'append', 'before' ], [ 'append', 'after' ],
	[ 'status', 'before' ], [ 'status', 'after' ])
{
	my ($call, $point) = @$c;

	lane_killed_ok('killed', "$point $call", call => $call, point => $point);
}

# The store is killed: what it had not committed is gone.
begin('down', lanes => 2, batch_rows => 20);
foreach my $c ([ 'append', 'after' ], [ 'status', 'before' ])
{
	my ($call, $point) = @$c;

	$peer->fault(call => $call, point => $point, action => 'kill', nth => 3);
	insert_some(200);
	ok($peer->await_end($PATIENCE), "the peer dies $point $call");
	$peer->start;
}
arrives('down', 'a store that is killed and comes back');

# The other mode takes over while an outcome is unknown, and back.
begin('changing');
$peer->request('POST', '/_hold', 'true');
insert_some(20);
ok($peer->await($PATIENCE, sub {
			$node->safe_psql('app',
				"SELECT in_flight FROM token_ledger.status WHERE target = 'changing'") == 20;
		}), 'rows are on their way');
set_targets($node, 'changing=' . $peer->url(table => 'changing'));
$peer->request('POST', '/_hold', 'false');
insert_some(20);
arrives('changing', 'from streaming to sql');
set_targets($node, 'changing='
	  . $peer->url(table => 'changing', mode => 'streaming'));
insert_some(20);
arrives('changing', 'from sql to streaming');

# A channel for each lane; one that will not come back drops it.
sub channels
{
	my ($table) = @_;

	return scalar grep { $_->{key} =~ m{/\U$table\E-STREAMING/} }
	  @{ $peer->request('GET', '/_channels') };
}

begin('two', lanes => 2);
$peer->request('POST', '/_hold', 'true');
foreach my $lanes (1, 2)
{
	insert_some(10);
	ok($peer->await($PATIENCE, sub {
				$node->safe_psql('app',
					"SELECT in_flight FROM token_ledger.status WHERE target = 'two'")
				  == 10 * $lanes;
			}), "$lanes lanes wait for a commit");
}
$peer->request('POST', '/_hold', 'false');
arrives('two', 'by two lanes');
is(channels('two'), 2, 'each has a channel');
set_targets($node, 'two=' . $peer->url(table => 'two', mode => 'streaming'));
ok($peer->await($PATIENCE, sub { channels('two') == 1 }),
	'a lane that retires drops its channel');

# Values, also those that JSON has no number for.
begin('first');
insert_events($node, 'app', 300, first => 1001, per_transaction => 17,
	set => { cost_usd => 'i * 0.00000125' });
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp",
	duration_ms, input_tokens, cost_usd, user_id, metadata, metadata_extra,
	request_preview) VALUES
('edge', '', '0001-01-01 00:00:00+00', 'NaN', 9223372036854775807,
	9999999999.99999999, '', '{}', '[]', repeat('z', 2000000)),
('edge', 'b', '9999-12-31 23:59:59.999999+00', 'infinity', -9223372036854775808,
	-9999999999.99999999, E'\\N\t\n"', 'null', '"text"',
	(SELECT string_agg(chr(i), '') FROM generate_series(1, 55295) i)),
('edge', 'c', '1969-12-31 23:59:59.999999+00', '-infinity', 0, 0.00000001, NULL,
	'{"a": {"b": [1, 2.5, true, "\u00e9"]}}', '0.5', NULL);
EOC
arrives('first', 'values');
like($peer->channel('first')->{channel_name}, qr/^tokenledger-[-0-9a-f]{36}-0$/,
	'a channel for the lane');
like($peer->channel('first')->{last_committed_offset_token}, qr{^[-0-9a-f]{36}/\d+$},
	'the offset token is token and row');
is( $node->safe_psql('app', <<'EOC'),
SELECT guarantee, remote_version FROM token_ledger.status WHERE target = 'first'
EOC
	'exactly once, by asking the store|103',
	'status');

# A batch of several appends, acknowledged together.
begin('large', batch_rows => 10000, lanes => 1);
my $fault = $peer->fault(call => 'append', action => 'async', times => 0);
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, request_preview)
SELECT 'large', 'm', repeat('x', 100000) FROM generate_series(1, 60)
EOC
arrives('large', 'a batch of 6 MB');
cmp_ok((grep { $_->{id} == $fault } $peer->faults)[0]{fired},
	'>=', 2, 'it took several appends');

identity_ok($node, 'app', 'the identity holds at the end');
done_testing();
