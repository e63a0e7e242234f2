# Reconcile knows what a target gets: what its filter leaves out is not missing,
# columns that it is not sent are not compared, hashed ones are no difference;
# and what is missing goes the same way again, filtered, cut and hashed.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('reconcile_routing', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $dir = PostgreSQL::Test::Utils::tempdir;
my $key = 'correct horse battery staple';
my $required =
  'event_id,timestamp,provider,model,input_tokens,output_tokens,total_tokens';
my $filter = q{provider = 'openai' AND total_tokens > 100};
my %options = (
	filtered => { filter => $filter },
	cut => { columns => $required },
	without => { exclude => 'cost_usd,metadata' },
	hashed => { hash => 'user_id', hash_key_file => "$dir/key" },
	mixed => {
		filter => $filter,
		exclude => 'cost_usd',
		hash => 'user_id',
		hash_key_file => "$dir/key"
	});
my @names = sort keys %options;

append_to_file("$dir/key", "$key\n");
chmod 0600, "$dir/key" or die "chmod: $!";
create_store($node, 'store');
configure();
insert_events($node, 'app', 3000, per_transaction => 100);
caught_up_ok($node, 'app', $_) foreach @names;

my $passing = ledger("SELECT count(*) FROM token_ledger.token_ledger_events"
	  . " WHERE $filter");

cmp_ok($passing, '>', 500, "$passing events pass the filter");
cmp_ok($passing, '<', 2500, 'and others do not');
is( store("SELECT count(*) FROM $_"),
	$options{$_}{filter} ? $passing : 3000,
	"$_ has what it should")
  foreach @names;
found_like($_, qr/^6 hours compared, 0 differ$/, 'nothing differs')
  foreach @names;

# Three events go: one that passes the filter, of a user; one that does not;
# and one without a user.
my $lost = ledger(<<EOC);
SELECT string_agg(quote_literal(event_id), ', ') FROM (
	(SELECT event_id FROM token_ledger.token_ledger_events
		WHERE $filter AND user_id IS NOT NULL ORDER BY 1 LIMIT 1)
	UNION ALL (SELECT event_id FROM token_ledger.token_ledger_events
		WHERE NOT ($filter) AND user_id IS NOT NULL ORDER BY 1 LIMIT 1)
	UNION ALL (SELECT event_id FROM token_ledger.token_ledger_events
		WHERE $filter AND user_id IS NULL ORDER BY 1 LIMIT 1)) e
EOC

foreach my $name (@names)
{
	my $n = $options{$name}{filter} ? 2 : 3;

	store("DELETE FROM $name WHERE event_id IN ($lost)");
	found_like($name,
		qr/differ?: $n events missing, 0 extra, 0 different, 0 doubled$/,
		'what is missing is found, and it alone');
	found_like($name, qr/: $n events missing, .*; $n sent again$/,
		'and sent again', 'true');
	found_like($name, qr/^6 hours compared, 0 differ$/, 'then nothing differs');
}
identity_ok($node, 'app');

# As the first time.
my $columns = 'event_id, total_tokens, cost_usd, user_id';

foreach my $name (@names)
{
	my %option = %{ $options{$name} };
	my %expected = map { (split /\|/)[0] => $_ } split /\n/,
	  ledger(
		"SELECT event_id, total_tokens,"
		  . ($name =~ /^(cut|without|mixed)$/ ? ' NULL' : ' cost_usd') . ','
		  . ($name eq 'cut' ? ' NULL' : ' user_id')
		  . ' FROM token_ledger.token_ledger_events'
		  . " WHERE event_id IN ($lost)"
		  . ($option{filter} ? " AND $option{filter}" : ''));

	if ($option{hash})
	{
		s/([^|]+)$/hmac_sha256_hex($1, $key)/e
		  foreach grep { !/\|$/ } values %expected;
	}
	is( store("SELECT $columns FROM $name WHERE event_id IN ($lost)"
			  . ' ORDER BY event_id'),
		join("\n", map { $expected{$_} } sort keys %expected),
		"$name: what was sent again is what was sent before");
}

# What does differ in a column that is sent is found, in another it is not.
my $one = ledger('SELECT event_id FROM token_ledger.token_ledger_events'
	  . " WHERE $filter ORDER BY event_id DESC LIMIT 1");

store("UPDATE $_ SET cost_usd = 7 WHERE event_id = '$one'") foreach @names;
found_like($_, qr/: 0 events missing, 0 extra, 1 different, 0 doubled$/,
	'another cost is found')
  foreach qw(filtered hashed);
found_like($_, qr/^6 hours compared, 0 differ$/,
	'where no cost is sent, none is compared')
  foreach qw(cut without mixed);

# Another filter: what has been sent under the one before is neither missing
# nor extra; what neither has let pass is not missing.
store("DELETE FROM filtered WHERE event_id = '$one'");
$options{filtered}{filter} = q{provider = 'anthropic'};
configure();
wait_until($node, 'app', "SELECT filter FROM token_ledger.routing('filtered')",
	qr/anthropic/, 'another filter holds');
insert_events($node, 'app', 300, first => 3001);
caught_up_ok($node, 'app', 'filtered');
found_like(
	'filtered',
	qr/ events missing, 0 extra, 0 different, 0 doubled$/,
	'under another filter nothing that the store has is extra');
is( ledger(<<EOC), 'f', 'and what the filter leaves out is not missing');
SELECT bool_or(e.provider IS DISTINCT FROM 'anthropic')
FROM token_ledger.reconcile_findings f
	JOIN token_ledger.token_ledger_events e USING (event_id)
WHERE f.job = (SELECT max(id) FROM token_ledger.jobs)
EOC
identity_ok($node, 'app');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');
done_testing();

sub configure
{
	set_targets(
		$node,
		join ' ',
		map {
			"$_="
			  . store_url($node, 'store', table => $_, lanes => 2,
				%{ $options{$_} })
		} @names);
	return;
}

sub ledger { return $node->safe_psql('app', @_) }

sub store { return $node->safe_psql('store', @_) }

sub found_like
{
	my ($target, $message, $what, $requeue) = @_;
	my $job = ledger("SELECT token_ledger.reconcile('$target', NULL, NULL, "
		  . ($requeue // 'false') . ')');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like(
		psql_output($node, 'app',
			"CALL token_ledger.wait_for_job($job, '5 min')"),
		$message,
		"$target: $what");
}
