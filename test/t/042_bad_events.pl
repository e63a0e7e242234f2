# Events that a store does not take, or that are too large for any: they become
# dead letters that say why, all others arrive.  A store that takes nothing is a
# target in error and no table full of dead letters.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

my $node = ledger_node('badevents', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
EOC
my $next = 1;

create_store($node, $_) foreach qw(good strict);
my $good = 'good=' . store_url($node, 'good');
my $strict = 'strict=' . store_url($node, 'strict', batch_rows => 100);

set_targets($node, "$good $strict");

sub insert_some
{
	my ($n, %params) = @_;

	insert_events($node, 'app', $n, first => $next, %params);
	$next += $n;
	return;
}

# One event that only its model tells from others.
sub insert_one
{
	my ($model, %values) = @_;
	my @columns = sort keys %values;

	return $node->safe_psql('app',
		'INSERT INTO token_ledger.token_ledger_events'
		  . ' (' . join(', ', 'provider', 'model', @columns) . ')'
		  . " VALUES ('provider', '$model'"
		  . join('', map { ", $values{$_}" } @columns)
		  . ') RETURNING event_id');
}

sub store
{
	return $node->safe_psql('strict', $_[0]);
}

# Ids and reasons of a target's dead letters since the last call.
my %known;

sub new_letters
{
	my ($target) = @_;
	my %found = map { split /\|/, $_, 2 } split /\n/, $node->safe_psql('app',
		'SELECT d.event_id, d.reason FROM token_ledger.dead_letter d'
		  . ' JOIN token_ledger.target t ON t.id = d.target_id'
		  . " WHERE t.name = '$target' AND d.state = 'dead'");

	delete @found{ keys %{ $known{$target} } };
	$known{$target}{$_} = 1 foreach keys %found;
	return %found;
}

# All but the dead letters have arrived, and everything is counted.
sub rest_arrives
{
	my ($target, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	forwarded_ok($node, 'app', $target, $node, $target, name => $what,
		where => 'event_id NOT IN (SELECT d.event_id'
		  . ' FROM token_ledger.dead_letter d JOIN token_ledger.target t'
		  . " ON t.id = d.target_id WHERE t.name = '$target')");
	identity_ok($node, 'app', "$what: the identity holds");
	return;
}

# The events, and no others, have become dead letters for the reason.
sub letters_are
{
	my ($target, $ids, $reason, $what) = @_;
	my %letters;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	rest_arrives($target, $what);
	%letters = new_letters($target);
	is(join(' ', sort keys %letters), join(' ', sort @$ids),
		"$what: dead letters");
	like($_, $reason, "$what: reason") foreach values %letters;
	return;
}

insert_some(200);
rest_arrives($_, "$_ at first") foreach qw(good strict);

# Too large: refused before it is sent, so by every target.
set_targets($node, "$good $strict&max_event_bytes=64kB");
insert_some(50);
my $large =
  insert_one('large', request_preview => "repeat(md5(random()::text), 4000)");
my $fits = insert_one('fits', request_preview => "repeat('x', 60000)");
insert_some(50);
letters_are('strict', [$large], qr/max_event_bytes \(65536\).*request_preview/,
	'an event over max_event_bytes');
letters_are('good', [], qr/./, 'the limit of another target');
is(store("SELECT count(*) FROM token_ledger_events WHERE model = 'fits'"),
	'1', 'an event below the limit arrives');
unlike(
	slurp_file($node->logfile)
	  . $node->safe_psql('app', 'SELECT * FROM token_ledger.dead_letter'),
	qr/x{100}/, 'no payload is shown');
set_targets($node, "$good $strict");

# The store names the event: a CHECK constraint, by the line of its COPY.
store(<<'EOC');
ALTER TABLE token_ledger_events
	ADD CONSTRAINT no_evil CHECK (model NOT LIKE 'evil%') NOT VALID;
EOC
insert_some(120);
my @evil = map { insert_one("evil $_") } 1 .. 3;
insert_some(120);
letters_are('strict', \@evil, qr/no_evil/, 'a CHECK constraint of the store');

# The store does not name it: a trigger that sees all rows at once.  The event
# is found by halving.
store(<<'EOC');
ALTER TABLE token_ledger_events DROP CONSTRAINT no_evil;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM added WHERE model LIKE 'bad%') THEN
		RAISE 'something in here is bad';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER refuse AFTER INSERT ON token_ledger_events
	REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION refuse();
EOC
insert_some(90);
my @bad = map { insert_one("bad $_") } 1 .. 2;
insert_some(90);
push @bad, insert_one('bad 3');
insert_some(30);
letters_are('strict', \@bad, qr/something in here is bad/,
	'a trigger that does not say which');

# A trigger that drops an event without a word.
store(<<'EOC');
DROP TRIGGER refuse ON token_ledger_events;
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN new.model NOT LIKE 'gone%' THEN new END;
END $$;
CREATE TRIGGER swallow BEFORE INSERT ON token_ledger_events
	FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name LIKE 'tokenledger strict%';
EOC
insert_some(40);
my @gone = insert_one('gone');
insert_some(40);
letters_are('strict', \@gone, qr/trigger or rule/,
	'a trigger that drops an event');
store('DROP TRIGGER swallow ON token_ledger_events');

# A text that is too long for the store's column.
store('ALTER TABLE token_ledger_events ALTER user_id TYPE varchar(20)');
insert_some(40);
my @long = insert_one('long', user_id => "repeat('u', 30)");
insert_some(40);
letters_are('strict', \@long, qr/too long.*varying\(20\)/,
	'a text that is too long for the column');

# A store that takes nothing any more.
store("ALTER TABLE token_ledger_events"
	  . " ADD CONSTRAINT nothing CHECK (provider IS NULL) NOT VALID");
insert_some(500);
wait_until($node, 'app',
	'SELECT state, cause, last_error FROM token_ledger.status'
	  . " WHERE target = 'strict'",
	qr/^error\|data\|/, 'a store that takes nothing: status says so');
rest_arrives('good', 'the good target goes on');
wait_until($node, 'app',
	"SELECT sum(attempts) > 3 FROM token_ledger.lanes WHERE target = 'strict'",
	't', 'a store that takes nothing is asked again and again');
my %letters = new_letters('strict');
is(scalar(keys %letters), 0, 'a store that takes nothing: no dead letters');
is( $node->safe_psql('app',
		'SELECT lag_events FROM token_ledger.status'
		  . " WHERE target = 'strict'"),
	'500', 'all its events wait');
$node->restart;
wait_until($node, 'app',
	"SELECT state FROM token_ledger.status WHERE target = 'strict'",
	'error', 'a store that takes nothing, after a restart');
insert_some(100);
store('ALTER TABLE token_ledger_events DROP CONSTRAINT nothing');
letters_are('strict', [], qr/./, 'a store that takes events again');
wait_until($node, 'app',
	'SELECT state, last_error FROM token_ledger.status'
	  . " WHERE target = 'strict'",
	'running|', 'status has forgotten the error');

# A lone event that is refused is judged when others follow.
store("ALTER TABLE token_ledger_events"
	  . " ADD CONSTRAINT no_evil CHECK (model NOT LIKE 'evil%') NOT VALID");
my $alone = insert_one('evil, and alone');
wait_until($node, 'app',
	'SELECT state, in_flight FROM token_ledger.status'
	  . " WHERE target = 'strict'",
	'error|1', 'a lone refused event waits for others');
%letters = new_letters('strict');
is(scalar(keys %letters), 0, 'it is no dead letter yet');
identity_ok($node, 'app', 'the identity holds while it waits');
$node->restart;
insert_some(10);
letters_are('strict', [$alone], qr/no_evil/,
	'others arrive, so it was to blame');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/,
	'nothing crashed');

done_testing();
