# What of the events a target gets: columns, exclude, hash, filter.  Filtered
# events are counted; a mistake never means that more is sent; a filter that
# throws sets the event aside and stops nobody.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('routing', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $required =
  'event_id,timestamp,provider,model,input_tokens,output_tokens,total_tokens';
my $dir = PostgreSQL::Test::Utils::tempdir;
my $key = 'correct horse battery staple';

create_store($node, 'store');
foreach my $file ([ 'key', "$key\n", 0600 ], [ 'short', "horse\n", 0600 ],
	[ 'open', "$key\n", 0644 ])
{
	append_to_file("$dir/$file->[0]", $file->[1]);
	chmod $file->[2], "$dir/$file->[0]" or die "chmod: $!";
}

sub target
{
	my ($name, %options) = @_;

	return "$name=" . store_url($node, 'store', table => $name, %options);
}

sub ledger
{
	return $node->safe_psql('app', @_);
}

sub store
{
	return $node->safe_psql('store', @_);
}

sub status
{
	my ($name, $columns) = @_;

	return ledger("SELECT $columns FROM token_ledger.status"
		  . " WHERE target = '$name'");
}

# Columns.
my $wanted = q{provider = 'openai' AND cost_usd >= 0.001 AND NOT metadata ? 'x'};

set_targets(
	$node,
	join ' ',
	target('slim', exclude => 'metadata, request_preview,user_id'),
	target('chosen', columns => "$required,cost_usd", lanes => 2),
	target('hashed', hash => 'user_id, app_name', hash_key_file => "$dir/key"),
	target('part', filter => $wanted, lanes => 2),
	target('little', filter => "user_id = 'user-7'",
		exclude => 'user_id', batch_rows => 7));
insert_events($node, 'app', 1000, per_transaction => 100);
caught_up_ok($node, 'app', $_) foreach qw(slim chosen hashed part little);

is( store('SELECT count(*), count(metadata), count(request_preview),'
		  . ' count(user_id), count(cost_usd), count(app_name) FROM slim'),
	ledger('SELECT count(*), 0, 0, 0, count(cost_usd), count(app_name)'
		  . ' FROM token_ledger.token_ledger_events'),
	'excluded columns are not sent, the others are');
is( store('SELECT count(*), count(metadata), count(user_id),'
		  . ' count(cost_usd) FROM chosen'),
	ledger('SELECT count(*), 0, 0, count(cost_usd)'
		  . ' FROM token_ledger.token_ledger_events'),
	'columns that are not chosen are not sent');
is( status('slim', 'left_out IS NULL'),
	't', 'columns that are left out on purpose are not counted');
is( ledger("SELECT key, value FROM token_ledger.connection_info('hashed')"
		  . " WHERE key LIKE 'columns%' OR key = 'filter'"),
	'columns_hashed|user_id, app_name', 'connection_info() says what is hashed');
is( ledger("SELECT key, value FROM token_ledger.connection_info('little')"
		  . " WHERE key LIKE 'columns%' OR key = 'filter'"),
	"columns_not_sent|user_id\nfilter|on", 'or not sent');

# Hashes.
my @users = split /\n/,
  ledger('SELECT DISTINCT user_id FROM token_ledger.token_ledger_events'
	  . ' WHERE user_id IS NOT NULL');

is( store('SELECT DISTINCT user_id FROM hashed WHERE user_id IS NOT NULL'
		  . ' ORDER BY 1'),
	join("\n", sort map { hmac_sha256_hex($_, $key) } @users),
	'the store has the hashes in place of the values');
is( store('SELECT count(user_id), count(DISTINCT user_id),'
		  . ' count(app_name), count(DISTINCT app_name) FROM hashed'),
	ledger('SELECT count(user_id), count(DISTINCT user_id),'
		  . ' count(app_name), count(DISTINCT app_name)'
		  . ' FROM token_ledger.token_ledger_events'),
	'equal values stay equal, and NULL is NULL');
is( store("SELECT user_id FROM hashed WHERE event_id = md5('event 7')::uuid"),
	hmac_sha256_hex('user-7', $key),
	'the hash is the one that others compute');
is( store("SELECT app_name FROM hashed"
		  . " WHERE event_id = md5('event 13')::uuid"),
	hmac_sha256_hex('', $key),
	'an empty text has one as well');

# Filters.
forwarded_ok($node, 'app', 'part', $node, 'store', table => 'part',
	where => $wanted, name => 'events that pass the filter arrive');
is( status('part', 'filtered, forwarded + filtered'),
	ledger("SELECT count(*) FILTER (WHERE ($wanted) IS NOT TRUE), count(*)"
		  . ' FROM token_ledger.token_ledger_events'),
	'the others are counted');
is( store('SELECT count(*), count(user_id) FROM little'),
	ledger("SELECT count(*), 0 FROM token_ledger.token_ledger_events"
		  . " WHERE user_id = 'user-7'"),
	'a filter may use a column that is not sent');
is( ledger("SELECT filter FROM token_ledger.routing('part')"),
	q{((provider = 'openai'::text) AND (cost_usd >= 0.001) AND (NOT (metadata ? 'x'::text)))},
	'routing() shows what is understood');
is( ledger("SELECT columns, hashed, filter IS NULL"
		  . " FROM token_ledger.routing('chosen')"),
	"{$required,cost_usd}|{}|t",
	'and which columns');
is( ledger("SELECT count(*) FROM token_ledger.routing('hashed'),"
		  . " unnest(columns)"),
	33, 'all of them where none is left out');
identity_ok($node, 'app', 'the identity holds with filtered events');

# They come to hold on reload, for what has not been claimed.
set_targets(
	$node,
	join ' ',
	target('slim', exclude => 'metadata'),
	target('part', filter => q{model = 'model-3'}));
insert_events($node, 'app', 500, first => 1001);
caught_up_ok($node, 'app', $_) foreach qw(slim part);
is( store("SELECT count(request_preview) FROM slim WHERE timestamp >"
		  . " timestamptz '2026-01-01 00:00Z' + 1000 * interval '7 s'"),
	ledger("SELECT count(request_preview)"
		  . ' FROM token_ledger.token_ledger_events WHERE timestamp >'
		  . " timestamptz '2026-01-01 00:00Z' + 1000 * interval '7 s'"),
	'a column that is sent again is sent with new events');
forwarded_ok(
	$node, 'app', 'part', $node, 'store',
	table => 'part',
	where => "CASE WHEN timestamp > timestamptz '2026-01-01 00:00Z'"
	  . " + 1000 * interval '7 s' THEN model = 'model-3' ELSE $wanted END",
	name => 'a new filter is for new events');
identity_ok($node, 'app', 'the identity holds after that');

# Mistakes.  Nothing of such a target is sent, and no word of the filter shows.
ledger(<<'EOC');
CREATE FUNCTION public.mine(text) RETURNS boolean LANGUAGE sql IMMUTABLE
	AS 'SELECT true';
CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text,
	FUNCTION = texteq);
CREATE DOMAIN public.odd AS text;
CREATE COLLATION public.other FROM "C";
ALTER TABLE token_ledger.token_ledger_events ADD note text;
EOC
my $builtin = 'not built in';
my @mistakes = (
	[ { exclude => 'metadata,secret_column' },
		qr/"exclude" names a column that events do not have: "secret_column"/ ],
	[ { exclude => 'metadata,' }, qr/"exclude" names a column/ ],
	[ { exclude => 'model,team,provider' }, qr/"exclude" names provider, model/ ],
	[ { columns => 'event_id,model' },
		qr/"columns" lacks timestamp, provider, input_tokens/ ],
	[ { columns => $required, exclude => 'team' },
		qr/"columns" and "exclude" exclude each other/ ],
	[ { hash => 'user_id' }, qr/"hash" needs a key/ ],
	[ { hash => 'user_id', hash_key => $key }, qr/"hash_key" holds a secret/ ],
	[ { hash => 'user_id', hash_key_file => "$dir/short" },
		qr/shorter than 16 bytes/ ],
	[ { hash => 'user_id', hash_key_file => "$dir/open" },
		qr/mode 0600 or less/ ],
	[ { hash => 'user_id', hash_key_file => "$dir/none" },
		qr/could not open file/ ],
	[ { hash_key_file => "$dir/key" }, qr/given without "hash"/ ],
	[ { hash => 'cost_usd', hash_key_file => "$dir/key" }, qr/not text: cost_usd/ ],
	[ { hash => 'team', exclude => 'team', hash_key_file => "$dir/key" },
		qr/not sent: team/ ],
	[ { filter => '' }, qr/"filter" is empty/ ],
	[ { filter => 'secret +' }, qr/syntax error/ ],
	[ { filter => 'true) FROM pg_class, (SELECT 1 AS secret' }, qr/syntax error/ ],
	[ { filter => 'true) FROM pg_class WHERE (true' }, qr/syntax error/ ],
	[ { filter => 'true, true' }, qr/is not/ ],
	[ { filter => 'true), (true' }, qr/syntax error/ ],
	[ { filter => 'true); DROP TABLE secret; SELECT (true' }, qr/syntax error/ ],
	[ { filter => 'true -- secret' , }, undef ],
	[ { filter => 'true) -- secret' }, qr/syntax error/ ],
	[ { filter => 'true /* secret' }, qr/syntax error/ ],
	[ { filter => "secret = 'x'" }, qr/names a column that the ledger does not have/ ],
	[ { filter => "secret(model)" }, qr/function or operator that does not exist/ ],
	[ { filter => "model = 'secret'::int" }, qr/has a literal|does not exist/ ],
	[ { filter => "input_tokens > 'secret'" }, qr/has a literal that does not fit/ ],
	[ { filter => 'model' }, qr/is not of type boolean/ ],
	[ { filter => 'public.mine(model)' }, qr/function mine, which is $builtin/ ],
	[ { filter => "model OPERATOR(public.===) 'x'" }, qr/operator ===, which is $builtin/ ],
	[ { filter => "model::public.odd = 'x'" }, qr/not allowed/ ],
	[ { filter => "model = 'x' COLLATE public.other" }, qr/collation that is $builtin/ ],
	[ { filter => 'timestamp > now()' }, qr/function now, whose result can change/ ],
	[ { filter => 'timestamp::date > \'2026-01-01\'' }, qr/function date, whose result can change/ ],
	[ { filter => 'current_user = \'secret\'' }, qr/kind that is not allowed/ ],
	[ { filter => 'random() < 0.5' }, qr/function random, whose result can change/ ],
	# sleep-ok: refused, never run
	[ { filter => 'pg_sleep(1) IS NULL' }, qr/function pg_sleep, whose result can change/ ],
	[ { filter => 'model IN (SELECT rolname FROM pg_authid)' }, qr/has a subquery/ ],
	[ { filter => 'EXISTS (SELECT 1)' }, qr/has a subquery/ ],
	[ { filter => 'count(*) > 1' }, qr/SQLSTATE/ ],
	[ { filter => 'generate_series(1, 2) > 1' }, qr/SQLSTATE/ ],
	[ { filter => '$1' }, qr/./ ],
	[ { filter => 'token_ledger_events IS NOT NULL' }, qr/no column of events/ ],
	[ { filter => 'ctid IS NOT NULL' }, qr/no column of events/ ],
	[ { filter => 'ingest_seq > 5' }, qr/no column of events/ ],
	[ { filter => "note = 'x'" }, qr/no column of events/ ]);

foreach my $mistake (@mistakes)
{
	my ($options, $message) = @$mistake;
	my $shown = join ', ', map { "$_=$options->{$_}" } sort keys %$options;

	set_targets($node, target('bad', %$options));
	if (!defined $message)
	{
		wait_until($node, 'app',
			"SELECT state FROM token_ledger.status WHERE target = 'bad'",
			qr/running|starting/, "$shown is valid");
		next;
	}
	wait_until(
		$node,
		'app',
		"SELECT state, last_error FROM token_ledger.status"
		  . " WHERE target = 'bad' AND hint !~ 'tokenledger.databases'"
		  . " OR target = 'bad' AND hint IS NULL",
		qr/^invalid\|.*$message/,
		"$shown is invalid");
	next unless exists $options->{filter};
	unlike(status('bad', "last_error || coalesce(hint, '')"),
		qr/secret/, 'and status does not quote it');
}
done_testing();
