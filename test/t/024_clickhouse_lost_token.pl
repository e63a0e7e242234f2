# A plain MergeTree logs an INSERT's token before the part is renamed to its
# name.  If that is where the server dies, or where its disk fails, the rows are
# gone and the token is known: the same INSERT again is answered with 200 and
# stores nothing.  That is why backend clickhouse asks the table after an
# unknown outcome, and sends what is missing under another token.
#
# First the store is shown to do so, with an INSERT of any client; then
# lanes meet it, and nothing is lost or doubled.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use TokenLedger;

foreach my $why (clickhouse_hindrance(), strace_hindrance())
{
	plan skip_all => $why if defined $why;
}

my $PATIENCE = $PostgreSQL::Test::Utils::timeout_default;
my $ROWS = 40;
my $TABLE = 'token_ledger_events';

my $peer = ClickHousePeer->new;
my $node = ledger_node('lost', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 500ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 1s
EOC
my $next = 1;

set_targets($node, 'store=' . $peer->url(ttl => 0));
insert_some();
arrived('before anything breaks');
like(
	$peer->query("SHOW CREATE TABLE $TABLE"),
	qr/non_replicated_deduplication_window = [1-9]/,
	'the table remembers tokens');

foreach my $how (qw(kill fail))
{
	same_token_loses($how);
	lane_does_not($how);
}
identity_ok($node, 'app', 'the identity holds at the end');
is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.dead_letter'),
	'0', 'no event was set aside');
done_testing();

sub insert_some
{
	insert_events($node, 'app', $ROWS, first => $next,
		set => { cost_usd => 'i * 0.00000125' });
	$next += $ROWS;
	return;
}

sub arrived
{
	my ($when) = @_;

	clickhouse_forwarded_ok($node, 'app', 'store', $peer, name => $when,
		where => 'true');
	return;
}

# The control: what would become of a client that trusts the token.
sub same_token_loses
{
	my ($how) = @_;
	my $send = sub {
		my ($token) = @_;

		return $peer->insert("INSERT INTO control_$how FORMAT TSV",
			"1\n2\n", query => { insert_deduplication_token => $token })
		  ->{status};
	};

	$peer->query("CREATE TABLE control_$how (a Int32) ENGINE = MergeTree"
		  . ' ORDER BY a SETTINGS non_replicated_deduplication_window = 100');
	pause_lane();
	no_merges();
	$peer->stop->start(break_rename => $how);
	isnt($send->('token'), '200', "$how: an INSERT breaks at the rename");
	$peer->kill9->start;
	is($send->('token'), '200', "$how: its token is accepted again");
	is($peer->query("SELECT count() FROM control_$how"),
		'0', "$how: and its rows never come");
	is($send->('other'), '200', "$how: another token is accepted");
	is($peer->query("SELECT count() FROM control_$how"),
		'2', "$how: and its rows come");
	$node->safe_psql('app', q(SELECT token_ledger.resume('store')));
	return;
}

# A merge would rename a part as well, at any time, and so would the removal of
# what it has merged.
sub no_merges
{
	my $tables = $peer->query('SELECT name FROM system.tables'
		  . ' WHERE database = currentDatabase()');

	$peer->query("ALTER TABLE $_ MODIFY SETTING"
		  . ' max_bytes_to_merge_at_max_space_in_pool = 1,'
		  . ' old_parts_lifetime = 86400')
	  foreach split /\n/, $tables;
	return;
}

# NB: a paused lane looks at nothing that is about to break.
sub pause_lane
{
	$node->safe_psql('app', q(SELECT token_ledger.pause('store')));
	wait_until($node, 'app',
		q(SELECT state FROM token_ledger.status WHERE target = 'store'),
		'paused', 'the target is paused');
	return;
}

# The lane's INSERT breaks at the rename.  Repeated by hand, under its token, it
# stores nothing; the lane itself has it stored.
sub lane_does_not
{
	my ($how) = @_;
	my $known = journal();

	$peer->stop->start(break_rename => $how);
	insert_some();
	if ($how eq 'kill')
	{
		ok($peer->await_end($PATIENCE), "$how: the server is dead");
	}
	else
	{
		ok($peer->await($PATIENCE, sub { refused($known) > 0 }),
			"$how: an INSERT is refused");
	}
	$peer->kill9->start;
	arrived("$how: each event is there once");

	my @inserts = grep { $_->{n} > $known } inserts();
	my $last = pop @inserts;

	cmp_ok(scalar @inserts, '>', 1, "$how: it took several INSERTs");
	is($inserts[-1]{token}, $inserts[0]{token},
		"$how: one more under the first token, against late ones");
	ok(!(grep { $_->{token} eq $last->{token} } @inserts),
		"$how: then one under another token");
	is($last->{rows}, $ROWS, "$how: which stored all");
	return;
}

# The last entry's number.
sub journal
{
	my @all = $peer->journal;

	return @all ? $all[-1]{n} : 0;
}

sub inserts
{
	return grep { $_->{query} =~ /^INSERT INTO `default`\.`$TABLE` / }
	  $peer->journal(kind => 'insert');
}

sub refused
{
	my ($known) = @_;

	return scalar grep { $_->{n} > $known && $_->{state} eq 'refused' }
	  inserts();
}
