# Real requests, and several databases with several targets of several lanes at
# once: counts and sums are the same hour by hour on both sides.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('trace', databases => [ 'app', 'second' ],
	conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
EOC
my @ledgers = qw(app second);

create_store($node, $_) foreach qw(store_app store_second);

# Each database has a target of its own and one that the entry gives to both,
# whose table the database's name tells apart.
my @entries;

foreach my $ledger (@ledgers)
{
	push @entries,
	  "$ledger/wide="
	  . store_url($node, "store_$ledger", lanes => 4, batch_rows => 500,
		claim_rows => 1000),
	  "$ledger/narrow="
	  . store_url($node, "store_$ledger", table => 'narrow', lanes => 2,
		batch_rows => 37, claim_rows => 111);
}

my $trace = load_trace($node, 'app');

insert_events($node, 'second', 3000, per_transaction => 30);
set_targets($node, join ' ', @entries);

# Writers in both databases while the backlog is carried.
my $script = $node->basedir . '/insert.sql';

append_to_file($script, <<'EOC');
\set n random(1, 5)
INSERT INTO token_ledger.token_ledger_events
	(provider, model, input_tokens, output_tokens, total_tokens, cost_usd)
SELECT 'provider', 'model', :client_id, i, :client_id + i, i / 1000.0
FROM generate_series(1, :n) AS i;
EOC
foreach my $ledger (@ledgers)
{
	$node->command_ok(
		[
			'pgbench', '-n', '-c', '4', '-t', '100', '-f', $script, '-M',
			'prepared', '-h', $node->host, '-p', $node->port, $ledger
		],
		"clients insert into $ledger while the lanes are at work");
}

my $by_hour = 'SELECT date_trunc(\'hour\', "timestamp" AT TIME ZONE \'UTC\'),'
  . ' count(*), sum(input_tokens), sum(output_tokens), sum(total_tokens),'
  . ' sum(cost_usd) FROM %s GROUP BY 1 ORDER BY 1';

foreach my $ledger (@ledgers)
{
	my $hours = sprintf $by_hour, 'token_ledger.token_ledger_events';

	foreach my $target (qw(wide narrow))
	{
		my $table = $target eq 'wide' ? 'token_ledger_events' : 'narrow';

		forwarded_ok($node, $ledger, $target, $node, "store_$ledger",
			table => $table,
			name => "$target of $ledger holds every event once");
		is( $node->safe_psql("store_$ledger", sprintf $by_hour, $table),
			$node->safe_psql($ledger, $hours),
			"$target of $ledger has the same counts and sums by hour");
	}
	identity_ok($node, $ledger, "the identity holds in $ledger");
	is( $node->safe_psql($ledger,
			'SELECT count(*), count(*) FILTER (WHERE forwarded > 0) > 1'
			  . " FROM token_ledger.lanes WHERE target = 'wide'"),
		'4|t', "lanes of $ledger have shared the work");
	is( $node->safe_psql($ledger, 'SELECT sum(unknowns + retries)'
			  . ' FROM token_ledger.lanes'),
		'0', "nothing had to be sent twice from $ledger");
}

SKIP:
{
	skip 'no trace of real requests in TOKENLEDGER_DATA', 2 unless $trace;
	is($trace, 19366, 'the real requests were loaded');
	is( $node->safe_psql('store_app', sprintf $by_hour,
			"(SELECT * FROM token_ledger_events WHERE provider = 'azure') t"),
		$node->safe_psql('app', sprintf $by_hour,
			"(SELECT * FROM token_ledger.token_ledger_events"
			  . " WHERE provider = 'azure') t"),
		'and arrived with the same counts and sums by hour');
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
