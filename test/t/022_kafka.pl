# Backend kafka with a real broker: the topic it makes, every kind of value in
# both formats, keys, headers and partitions, what is too large, and who may not in.
use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaPeer;
use ProtobufEvents;
use TokenLedger;

plan skip_all => kafka_hindrance() if kafka_hindrance();

my $broker = KafkaPeer->new(
	password => 'kept/secret',
	settings => "message.max.bytes=200000\n");
my $files = PostgreSQL::Test::Utils::tempdir;
my $node = ledger_node('kafka', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = 20s
EOC
my $next = 1;

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next, per_transaction => 17);
	$next += $n;
	return;
}

sub status_is
{
	my ($target, $columns, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, 'app',
		"SELECT $columns FROM token_ledger.status WHERE target = '$target'",
		$expected, $what);
}

# Every value, in each compression.
insert_some(500);
set_targets($node, join ' ',
	'plain=' . $broker->url('plain', lanes => 2, batch_rows => 100),
	'whole=' . $broker->url('whole', batch_rows => 100),
	'exact=' . $broker->url('exact', transactional => 'on', lanes => 2),
	map { "$_=" . $broker->url($_, compression => $_) }
	  qw(lz4 gzip none));
insert_some(300);
kafka_forwarded_ok($node, 'app', $_, $broker)
  foreach qw(plain whole exact lz4 gzip none);
status_is($_, 'state, guarantee', 'running|at least once',
	"$_: status says what is promised")
  foreach qw(plain whole);
status_is('exact', 'state, guarantee',
	'running|exactly once, by asking the store',
	'exact: status says what is promised');
identity_ok($node, 'app');

my @messages = $broker->messages('whole');

is( scalar(grep { $_->{value} !~ /^\{"event_id":"\Q$_->{key}\E",/ } @messages),
	0, 'the key is the event id');
is( scalar(
		grep {
			$_->{headers} !~
			  /^tokenledger-schema=1\.3,tokenledger-batch=[-0-9a-f]{36},tokenledger-ledger=[-0-9a-f]{36}$/
		} @messages),
	0, 'headers name schema, batch and ledger');


# The documented schema: every message keeps it, and it has every column.
my $schema = JSON::PP::decode_json(
	slurp_file("$FindBin::RealBin/../../backends/kafka/event.schema.json"));

sub schema_violations
{
	my ($event) = @_;
	my @found;

	foreach my $name (@{ $schema->{required} })
	{
		push @found, "$name is missing" unless exists $event->{$name};
	}
	foreach my $name (sort keys %$event)
	{
		my $rule = $schema->{properties}{$name};
		my $text = JSON::PP->new->allow_nonref->encode($event->{$name});
		my $type = $rule->{type} // 'any';

		push @found, "$name is not in the schema" unless $rule;
		push @found, "$name is no $type: $text"
		  if ($type eq 'string' && $text !~ /^"/)
		  || ($type eq 'integer' && $text !~ /^-?[0-9]+$/);
		push @found, "$name is not as its pattern: $text"
		  if $rule->{pattern} && $event->{$name} !~ /$rule->{pattern}/;
	}
	return @found;
}

is( join("\n",
		map { schema_violations(JSON::PP::decode_json($_->{value})) } @messages),
	'', 'every message is as the schema says');
is( join(' ', sort keys %{ $schema->{properties} }),
	$node->safe_psql('app', <<'EOC'), 'the schema has every column');
SELECT string_agg(attname, ' ' ORDER BY attname COLLATE "C")
FROM pg_attribute
WHERE attrelid = 'token_ledger.token_ledger_events'::regclass AND attnum > 0
AND NOT attisdropped AND attname NOT LIKE 'ingest%'
EOC

# Borders of types, texts and JSON.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (provider, model, "timestamp",
	duration_ms, input_tokens, cost_usd, user_id, app_name, metadata,
	metadata_extra, request_preview) VALUES
('edge', '', '0001-01-01 00:00:00Z', 'NaN', 9223372036854775807,
	9999999999.99999999, '', '', '{}', '[]', repeat('z', 100000)),
('edge', 'b', '9999-12-31 23:59:59.999999Z', 'infinity', -9223372036854775808,
	-9999999999.99999999, E'\\N', E'\t\n\\', 'null', '"text"',
	(SELECT string_agg(chr(i), '') FROM generate_series(1, 20000) i)),
('edge', 'c', '1900-01-01 00:00:00Z', '-infinity', 0, 0.00000001, E'\'"`',
	'é', '{"a": {"b": [1, 2.5, null, true, "\u00e9"]}}', '1e400',
	(SELECT string_agg(chr(i), '') FROM generate_series(57344, 1114111, 97) i)),
('edge', 'd', '1969-12-31 23:59:59.999999Z', 1e-300, -1, -0.00000001, NULL,
	NULL, NULL, NULL, NULL);
EOC
kafka_forwarded_ok($node, 'app', 'whole', $broker,
	name => 'borders of types, every character, JSON of every shape');

# What is beyond them, each named; the others of their batch arrive.
$node->safe_psql('app', <<'EOC');
INSERT INTO token_ledger.token_ledger_events (event_id, provider, model,
	"timestamp", request_preview) VALUES
('00000000-0000-0000-0000-000000000001', 'beyond', '', 'infinity', NULL),
('00000000-0000-0000-0000-000000000002', 'beyond', '', '0001-12-31Z BC', NULL),
('00000000-0000-0000-0000-000000000003', 'beyond', '', '10000-01-01Z', NULL),
('00000000-0000-0000-0000-000000000004', 'beyond', '', now(),
	repeat('z', 300000)),
('00000000-0000-0000-0000-000000000005', 'within', '', '2026-01-01Z', NULL);
EOC
kafka_forwarded_ok($node, 'app', $_, $broker,
	where => "provider <> 'beyond'",
	name => "$_: what goes along with events that are refused arrives")
  foreach qw(plain whole exact);
is( $node->safe_psql('app', <<'EOC'),
SELECT t.name, string_agg(right(event_id::text, 1), '' ORDER BY event_id),
	count(*) FILTER (WHERE reason LIKE 'column "timestamp"%'),
	count(*) FILTER (WHERE reason LIKE '%max.message.bytes%')
FROM token_ledger.dead_letter d JOIN token_ledger.target t ON t.id = d.target_id
WHERE t.name IN ('exact', 'plain', 'whole') GROUP BY 1 ORDER BY 1
EOC
	"exact|1234|3|1\nplain|1234|3|1\nwhole|1234|3|1",
	'times without a date-time and what is too large are refused, by name');

# The same as protocol buffers, read by event.proto and nothing else.
SKIP:
{
	skip protobuf_hindrance(), 4 if protobuf_hindrance();
	set_targets($node, join ' ',
		'plain=' . $broker->url('plain', lanes => 2, batch_rows => 100),
		'binary=' . $broker->url('binary', format => 'protobuf',
			batch_rows => 100));
	kafka_forwarded_ok($node, 'app', 'binary', $broker,
		decode => \&protobuf_to_json,
		where => "provider <> 'beyond'",
		name => 'protocol buffers hold the same');

	my @binary = $broker->messages('binary');
	my @json = protobuf_to_json(map { $_->{value} } @binary);

	is( scalar(
			grep { $json[$_] !~ /^\{"event_id":"\Q$binary[$_]{key}\E",/ }
			  0 .. $#binary), 0, 'their key is the event id');
	is( join(' ', sort { $a cmp $b } protobuf_fields()),
		join(' ', sort { $a cmp $b } keys %{ $schema->{properties} }),
		'event.proto has the fields of the JSON schema');
	like(
		$node->safe_psql('app',
			"SELECT key || '=' || value FROM token_ledger.connection_info('binary')"),
		qr/^format=protobuf$/m, 'connection_info names the format');
}

# Partitions: those that another producer chooses for these keys.
set_targets($node, join ' ',
	'plain=' . $broker->url('plain', lanes => 2, batch_rows => 100),
	'byuser=' . $broker->url('byuser', partition_by => 'user_id',
		partitions => 5),
	'bykey=' . $broker->url('bykey', partitions => 5),
	map { "$_=" . $broker->url($_, partitions => 5, start => 'now') }
	  qw(reference_users reference_keys));
status_is($_, 'state, remote_version', 'running|103', "$_ is there")
  foreach qw(reference_users reference_keys);
caught_up_ok($node, 'app', $_) foreach qw(byuser bykey);

sub partitions_of
{
	my ($topic, $key) = @_;
	my %of;

	foreach my $message ($broker->messages($topic))
	{
		my $k = $key->($message) // next;

		$of{$k}{ $message->{partition} } = 1;
	}
	return { map { $_ => join(',', sort keys %{ $of{$_} }) } keys %of };
}

my $users =
  partitions_of('byuser', sub { $_[0]{value} =~ /"user_id":"(user-\d+)"/; $1 });
my $keys = partitions_of('bykey', sub { $_[0]{key} });
my @some = (sort keys %$keys)[ 0 .. 199 ];

cmp_ok(scalar(keys %$users), '>', 30, 'events have users');
$broker->produce('reference_users', sort keys %$users);
$broker->produce('reference_keys', @some);
is_deeply($users, partitions_of('reference_users', sub { $_[0]{key} }),
	'a column chooses the partition as a key of that value would');
is_deeply(
	{ map { $_ => $keys->{$_} } @some },
	partitions_of('reference_keys', sub { $_[0]{key} }),
	'the key chooses it as it does elsewhere');

# A topic that nobody may make, until somebody does.
set_targets($node, join ' ',
	'plain=' . $broker->url('plain', lanes => 2),
	'missing=' . $broker->url('missing', auto_migrate => 'off'));
status_is('missing', 'state, cause', 'error|schema',
	'a topic that is missing is not made when that is not allowed');
$node->safe_psql('app', "SELECT token_ledger.create_schema('missing')");
kafka_forwarded_ok($node, 'app', 'missing', $broker,
	where => "provider <> 'beyond'",
	name => 'create_schema() makes it, and the events arrive');

# Who may in, and what may not be said.
sub file
{
	my ($name, $contents) = @_;

	append_to_file("$files/$name", $contents);
	chmod 0600, "$files/$name" or die "$name: $!";
	return "$files/$name";
}

my @user = (
	user => 'ledger',
	port => $broker->{sasl_port},
	sasl => 'PLAIN',
	start => 'now');
my $password = file('password', "kept/secret\n");
my $wrong = file('wrong', "not it\n");
my $plain = 'plain=' . $broker->url('plain', lanes => 2);

set_targets($node, "$plain user="
	  . $broker->url('user', @user, password_file => $password));
status_is('user', 'state, remote_version', 'running|103',
	'a target that begins with what comes now');
insert_some(50);
status_is('user', 'state, forwarded > 0', 'running|t',
	'a user with a password is let in');

sub refused
{
	my ($name, $url, $expected) = @_;

	set_targets($node, "$plain $name=$url");
	status_is($name, 'state, cause, last_error', $expected,
		"$name: status says why");
	return;
}

refused('wrong_password',
	$broker->url('w', @user, password_file => $wrong),
	qr/^error\|auth\|.*[Aa]uthentication/);
refused('acks', $broker->url('a', 'rdkafka.acks' => 1),
	qr/rdkafka\.acks" is refused/);
refused('unknown_property', $broker->url('a', 'rdkafka.no.such' => 1),
	qr/No such configuration property/);
refused('inline', $broker->url('a', 'rdkafka.sasl.password' => 'x'),
	qr/^invalid\|.*secret/s);
refused('no_topic', $broker->url(''), qr/names no topic/);
refused('bad_topic', $broker->url('a%20b'), qr/not made of/);
refused('no_proof', $broker->url('a', user => 'ledger'), qr/password_file/);
refused('no_column', $broker->url('a', partition_by => 'nothing'),
	qr/no column "nothing"/);
refused('avro', $broker->url('a', format => 'avro'), qr/schema registry/);
refused('xml', $broker->url('a', format => 'xml'), qr/"json" and "protobuf"/);
refused('unreachable', $broker->url('a', port => 1),
	qr/^error\|network\|.*refused/);
set_targets($node, "$plain tuned="
	  . $broker->url('tuned', start => 'now', 'rdkafka.linger.ms' => 1));
status_is('tuned', 'state, remote_version', 'running|103', 'another one');
insert_some(50);
status_is('tuned', 'state, forwarded > 0', 'running|t',
	'other properties are passed on');

# What can be asked.
is( $node->safe_psql('app',
		"SELECT healthy, message FROM token_ledger.health_check('plain')"),
	't|', 'health_check');
like(
	$node->safe_psql('app',
		"SELECT key || '=' || value FROM token_ledger.connection_info('plain')"),
	qr/brokers=127\.0\.0\.1:\d+.*topic=plain.*librdkafka=/s,
	'connection_info');
is( scalar(grep { /kept.?secret/ } map { slurp_file($_) } $node->logfile),
	0, 'no secret in the log');
identity_ok($node, 'app', 'the identity holds at the end');

done_testing();
