# Backend clickhouse when things go wrong, with the real engine: what each error
# makes of a batch, cut and hanging connections, and a server that is killed.
# Nothing is lost and nothing doubled.
#
# Each case is a target with a table of its own; all are filled with the same
# events at the same time, each meeting its own fault.  The peer's journal then
# tells which way the events went:
#
#	once	one INSERT
#	retry	INSERTs under one token: the error says that nothing was stored
#	ask		an INSERT, a look at what still runs and at the table, what it
#			lacks under the same token, against late ones, and so on
#	found	an INSERT and a look: the events were there
#	split	INSERTs under several tokens without a look
use strict;
use warnings FATAL => 'all';

use FindBin;
use IO::Socket::INET;
use lib "$FindBin::RealBin/../torture/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ClickHouseEvents;
use ClickHousePeer;
use TokenLedger;
use Torture::Wire;
use Toxiproxy;

plan skip_all => clickhouse_hindrance() if clickhouse_hindrance();

my $PATIENCE = $PostgreSQL::Test::Utils::timeout_default;
my $ROWS = 40;

my $peer = ClickHousePeer->new;
my $node = ledger_node('faults', conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 500ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 1s
tokenledger.timeout = 60s
tokenledger.max_lanes = 64
max_worker_processes = 80
max_connections = 120
EOC
my $next = 1;

tables();
wave('nothing was written', before_writing());
wave('something may be written', may_be_written());
wave('it was written', written(), by_halves());
wave('connections', connections());
other_targets();
views();
partitions();
wrong_port();
cut_by_proxy();
delivered_late();
kills();
identity_ok($node, 'app', 'the identity holds at the end');
is($node->safe_psql('app', 'SELECT count(*) FROM token_ledger.dead_letter'),
	'0', 'no event was set aside');
done_testing();

# Cases.  way: see above.  fault: of the peer.  cause, words: what status says
# of it; such a fault goes on until status has said so.  options: of the URL.

sub exception
{
	my ($point, $code, $text) = @_;

	return {
		point => $point,
		action => 'error',
		code => $code,
		text => "$text. (NAME_OF_IT)"
	};
}

sub foreign
{
	my ($point, $status, %more) = @_;

	return { point => $point, action => 'foreign', status => $status, %more };
}

sub before_writing
{
	my @errors = (
		[ 60, 'schema', 'Table t does not exist' ],
		[ 115, 'config', "Setting 'x' is neither a builtin setting nor" ],
		[ 202, 'overload', 'Too many simultaneous queries' ],
		[ 252, 'overload', 'Too many parts (300 with average size of 1 KiB)' ],
		[ 516, 'auth', 'Authentication failed' ]);
	my @statuses = (
		[ 307, 'config', 'redirects are not followed' ],
		[ 404, 'config', 'HTTP status 404' ]);
	my %cases;

	foreach my $error (@errors)
	{
		my ($code, $cause, $text) = @$error;

		$cases{"code_$code"} = {
			way => 'retry',
			fault => exception('before', $code, $text),
			cause => $cause,
			words => $text
		};
	}
	foreach my $status (@statuses)
	{
		my ($code, $cause, $words) = @$status;

		$cases{"status_$code"} = {
			way => 'retry',
			fault => foreign('before', $code, text => '<p>a page</p>',
				headers => { Location => 'http://127.0.0.1:1/' }),
			cause => $cause,
			words => $words
		};
	}
	$cases{patient} = {
		way => 'retry',
		fault => foreign('before', 429, headers => { 'Retry-After' => 2 }),
		pause => 2
	};
	return %cases;
}

# Faults of which nobody can say what they leave behind.
sub uncertain
{
	my ($point) = @_;

	return (
		code_241 => exception($point, 241, '(total) memory limit exceeded'),
		code_319 => exception($point, 319, 'Unknown status'),
		code_999 => exception($point, 999, 'Coordination error'),
		of_view => exception($point, 60,
			'Table t does not exist: while pushing to view default.v'),
		status_200 => foreign($point, 200, text => 'welcome'),
		status_503 => foreign($point, 503, text => '<p>a page</p>'),
		late => { %{ exception($point, 394, 'Query was cancelled') },
			action => 'ok_exception' },
		late_old => { %{ exception($point, 425, 'System error') },
			action => 'ok_exception', tagged => 0 });
}

sub may_be_written
{
	my %cause = (
		code_241 => 'overload',
		code_319 => 'overload',
		code_999 => 'overload',
		of_view => 'schema',
		status_200 => 'network',
		status_503 => 'network',
		late => 'overload',
		late_old => 'overload');
	my %faults = uncertain('commit');
	my %cases = map {
		$_ => {
			way => 'ask',
			fault => $faults{$_},
			cause => $cause{$_},
			words => ($faults{$_}{text} // '') =~ s/\. \(.*//r
		}
	} keys %faults;

	$cases{status_200}{words} = "not one of a ClickHouse server's";
	$cases{status_503}{words} = 'HTTP status 503, not from ClickHouse itself';
	$cases{patient} = {
		way => 'ask',
		fault => foreign('commit', 503, headers => { 'Retry-After' => 2 }),
		pause => 2
	};
	return %cases;
}

sub written
{
	my %faults = (
		uncertain('committed'),
		rows_0 => { point => 'committed', action => 'rows', rows => 0 },
		rows_1 => { point => 'committed', action => 'rows', rows => $ROWS - 1 },
		rows_2 => { point => 'committed', action => 'rows', rows => $ROWS + 1 });
	my %cases =
	  map { $_ => { way => 'found', fault => $faults{$_} } } keys %faults;

	$cases{memory} = {
		way => 'once',
		fault => exception('committed', 241, 'Query memory limit exceeded')
	};
	$cases{async} = { way => 'once', options => { async_insert => 'on' } };
	return %cases;
}

sub by_halves
{
	my %faults = (
		half_241 => exception('commit', 241, 'Query memory limit exceeded'),
		half_252 => exception('before', 252,
			'Too many partitions for single INSERT block (more than 9)'),
		half_413 => foreign('before', 413),
		half_late => {
			%{ exception('commit', 241, 'Query memory limit exceeded') },
			action => 'ok_exception'
		},
		refused => exception('commit', 117, 'Incorrect data'));

	return
	  map { $_ => { way => 'split', fault => $faults{$_} } } keys %faults;
}

# An earlier request goes on here while its client has given it up: it has to
# be ended before the table is asked.
sub connections
{
	my %cases;

	foreach my $name (
		qw(rst_before rst_body rst_committed fin_commit fin_answer hang_body
		hang_commit hang_answer))
	{
		my ($action, $point) = split /_/, $name;

		$cases{$name} = {
			way => $point =~ /committed|answer/ ? 'found' : 'ask',
			fault => { point => $point, action => $action },
			options => $action eq 'hang' ? { timeout => '10s' } : {}
		};
	}
	$cases{"cut_at_$_"} = {
		way => 'found',
		fault => { point => 'answer', action => 'fin', bytes => $_ }
	  }
	  foreach 0, 12;
	return %cases;
}

# Making a table takes several statements.  Whichever of them fails, or is the
# last one of a lane, the table is finished afterwards.
sub tables
{
	my %error = (
		source => 'INSERT INTO .*t_source_source',
		cached => 'ALTER TABLE .*t_cached. .*`cached_tokens`',
		newest => 'INSERT INTO .*t_newest_schema_version. SELECT 103');
	my %hang = (
		create => 'CREATE TABLE .*t_create. ',
		recorded => 'INSERT INTO .*t_recorded_schema_version. SELECT 100',
		attributed => 'ALTER TABLE .*t_attributed. .*`feature`');

	$peer->fault(%{ exception('before', 210, 'Connection refused') },
		kind => 'any', query => $_)
	  foreach values %error;
	$peer->fault(point => 'commit', action => 'hang', kind => 'any', query => $_)
	  foreach values %hang;
	set_some_targets('t', map { $_ => {} } keys %error, keys %hang);
	ok($peer->await_hanging(scalar keys %hang, $PATIENCE), 'statements hang');
	ok($peer->await($PATIENCE, \&all_met), 'others have failed');
	kill 'TERM', map { lane_pids($node, 'app', "t_$_") } keys %hang;
	$peer->clear_faults;
	await_tables('t');
	insert_some();
	all_caught_up('the tables that were made');
	is(digest("t_$_"), digest('t_good'), "t_$_: each event is there once")
	  foreach keys %error, keys %hang;
	return;
}

# Runs the cases, and one without any fault.
sub wave
{
	my ($what, %cases) = @_;
	my @names = sort keys %cases;
	my $prefix = join '', map { substr $_, 0, 1 } split / /, $what;

	foreach my $case (values %cases)
	{
		$case->{fault}{times} = 0 if $case->{cause};
	}
	start_targets($prefix, map { $_ => $cases{$_}{options} } @names);
	plan_fault("${prefix}_$_", $cases{$_}{fault})
	  foreach grep { $cases{$_}{fault} } @names;
	insert_some();
	status_says("${prefix}_$_", $cases{$_}) foreach grep { $cases{$_}{cause} }
	  @names;
	ok($peer->await($PATIENCE, \&all_met), "$what: the faults were met");
	$peer->clear_faults if grep { $_->{cause} } values %cases;
	all_caught_up($what);
	$peer->clear_faults;
	clickhouse_forwarded_ok($node, 'app', "${prefix}_good", $peer,
		table => "${prefix}_good", where => last_ones(),
		name => "$what: the events are there");
	my @journal = $peer->journal;
	judge("${prefix}_$_", $cases{$_} // { way => 'once' }, "${prefix}_good",
		@journal)
	  foreach 'good', @names;
	return;
}

sub start_targets
{
	my ($prefix, %options) = @_;

	set_some_targets($prefix, %options);
	await_tables($prefix);
	return;
}

# Those, and one without a fault.
sub set_some_targets
{
	my ($prefix, %options) = @_;

	$options{good} = {};
	set_targets(
		$node,
		join ' ',
		map {
			"${prefix}_$_="
			  . $peer->url(table => "${prefix}_$_", ttl => 0, start => 'now',
				%{ $options{$_} // {} })
		} sort keys %options);
	wait_until($node, 'app',
		'SELECT count(*) FROM token_ledger.status'
		  . " WHERE target LIKE '$prefix\\_%'",
		scalar(keys %options), "$prefix: the targets are known");
	return;
}

sub await_tables
{
	my ($prefix) = @_;

	wait_until($node, 'app',
		"SELECT count(*) FROM token_ledger.status WHERE state <> 'removed'"
		  . ' AND (guarantee IS NULL OR remote_version <> 103)',
		'0', "$prefix: the tables are there");
	return;
}

sub plan_fault
{
	my ($table, $fault) = @_;

	$peer->fault(%$fault, query => "INSERT INTO `default`.`$table` ");
	return;
}

sub insert_some
{
	insert_events($node, 'app', $ROWS, first => $next,
		set => { cost_usd => 'i * 0.00000125' });
	$next += $ROWS;
	return;
}

# The events inserted last.
sub last_ones
{
	return 'cost_usd >= ' . ($next - $ROWS) . ' * 0.00000125';
}

sub status_says
{
	my ($target, $case) = @_;

	wait_until($node, 'app',
		'SELECT state, cause, last_error FROM token_ledger.status'
		  . " WHERE target = '$target'",
		qr/^error\|$case->{cause}\|.*\Q$case->{words}\E/,
		"$target: status says what is wrong");
	return;
}

sub all_met
{
	return !grep { $_->{fired} == 0 } $peer->faults;
}

sub all_caught_up
{
	my ($what) = @_;

	wait_until(
		$node,
		'app',
		"SELECT string_agg(target, ' ') FROM token_ledger.status"
		  . " WHERE lag_events IS DISTINCT FROM 0 AND state <> 'removed'",
		'',
		"$what: all have caught up");
	return;
}

# Which way the events of a table went, and whether all of them arrived.
sub judge
{
	my ($table, $case, $good, @journal) = @_;
	my @calls = calls($table, @journal);
	my @inserts = grep { $_->{kind} eq 'insert' } @calls;

	is(way(@calls), $case->{way}, "$table: the way of the events")
	  or diag(explain(\@calls));
	is(digest($table), digest($good), "$table: each event is there once");
	cmp_ok($inserts[1]{at} - $inserts[0]{at}, '>=', $case->{pause},
		"$table: the store's wish for a pause is heeded")
	  if $case->{pause};
	return;
}

# INSERTs into a table, and looks at those that still run, in their order; of
# the journal as it was read before, or as it is now.
sub calls
{
	my ($table, @journal) = @_;
	my @all = @journal ? @journal : $peer->journal;
	my ($known) = grep { $_->{query} =~ /^INSERT INTO `default`\.`$table` / }
	  @all;
	my ($ids) = ($known->{query_id} // 'none') =~ /^(.*)-\w+-\d+$/;

	return grep {
		$_->{query} =~ /^INSERT INTO `default`\.`$table` /
		  || $_->{query} =~ /system\.processes.*'\Q$ids\E-/
	} @all;
}

sub way
{
	my (@calls) = @_;
	my @inserts = grep { $_->{kind} eq 'insert' } @calls;
	my %tokens = map { $_->{token} => 1 } @inserts;
	my $looks = @calls - @inserts;
	my $asked = grep {
		$calls[$_]{kind} eq 'insert' && $calls[ $_ - 1 ]{kind} eq 'select'
	} 1 .. $#calls;

	return 'once' if @inserts == 1 && !$looks;
	return 'found' if @inserts == 1;
	return 'retry' if !$looks && keys %tokens == 1;
	return 'split' if !$looks;
	return 'ask' if $asked == @inserts - 1 && keys %tokens == 1;
	return @inserts . " inserts, $asked asked for, "
	  . keys(%tokens) . ' tokens';
}

sub digest
{
	my ($table) = @_;

	return $peer->query('SELECT count(), uniqExact(event_id),'
		  . " sum(sipHash64(toString(tuple(*)))) FROM $table");
}

# A target that asks leaves the INSERTs of others alone.
sub other_targets
{
	my $table = 'alone';

	start_targets('o', alone => {}, asks => {});
	plan_fault('o_alone', { point => 'commit', action => 'hang' });
	plan_fault('o_asks', exception('commit', 999, 'Coordination error'));
	insert_some();
	ok($peer->await_hanging(1, $PATIENCE), 'an INSERT hangs');
	caught_up_ok($node, 'app', 'o_asks',
		name => 'another target of the same server asks and goes on');
	is(way(calls('o_asks')), 'ask', 'it had to');
	is(join(' ', map { $_->{state} } calls('o_alone')),
		'received', 'the INSERT that hangs is left alone');
	$peer->clear_faults;
	all_caught_up('other targets');
	judge('o_alone', { way => 'once' }, 'o_good');
	judge('o_asks', { way => 'ask' }, 'o_good');
	return;
}

# The rows of a table are there when one of its views fails; and a view may be
# made while a lane works.
sub views
{
	start_targets('v', viewed => {});
	$peer->query('CREATE MATERIALIZED VIEW v_view ENGINE = MergeTree'
		  . ' ORDER BY model AS SELECT model FROM v_viewed');
	insert_some();
	all_caught_up('a new view');
	judge('v_viewed', { way => 'found' }, 'v_good');

	my $before = calls('v_viewed');
	insert_some();
	all_caught_up('a known view');
	is(calls('v_viewed') - $before, 1, 'a view that is known is no surprise');

	my %cases = (
		$next => exception('committed', 60, 'Table t does not exist'),
		$next + $ROWS => exception('commit', 252, 'Too many parts'));
	foreach my $first (sort { $a <=> $b } keys %cases)
	{
		my $asked = looks('v_viewed');

		plan_fault('v_viewed', $cases{$first});
		insert_some();
		all_caught_up('an error with a view');
		cmp_ok(looks('v_viewed'), '>', $asked,
			'with a view no error says that nothing was written');
	}
	is(digest('v_viewed'), digest('v_good'), 'each event is there once');
	$peer->query('DROP VIEW v_view');
	return;
}

sub looks
{
	my ($table) = @_;

	return scalar grep { $_->{kind} eq 'select' } calls($table);
}

# What the engine itself has against a batch: one that is spread too thin, and
# a table with too many parts.
sub partitions
{
	start_targets('p', parts => {});
	my $columns = $peer->query(
		"SELECT arrayStringConcat(groupArray(concat('`', name, '` ', type)),"
		  . " ', ') FROM (SELECT * FROM system.columns WHERE table = 'p_good'"
		  . ' AND database = currentDatabase() ORDER BY position)'
		  . ' FORMAT TabSeparatedRaw');

	$peer->query("CREATE TABLE p_days ($columns) ENGINE = MergeTree"
		  . ' PARTITION BY toDate(timestamp) ORDER BY timestamp');
	start_targets('p', days => {}, parts => {});
	$peer->query('SYSTEM STOP MERGES p_parts');
	insert_some();
	all_caught_up('before there are too many parts');
	$peer->query('ALTER TABLE p_parts MODIFY SETTING parts_to_throw_insert = 1');
	insert_events(
		$node, 'app', 250,
		first => $next,
		set => {
			timestamp => "timestamptz '2025-01-01Z' + i * interval '1 day'",
			cost_usd => '0'
		});
	$next += 250;
	status_says('p_parts', { cause => 'overload', words => 'Too many parts' });
	$peer->query('ALTER TABLE p_parts MODIFY SETTING'
		  . ' parts_to_throw_insert = 1000');
	all_caught_up('250 days');
	is(digest($_), digest('p_good'), "$_: each event is there once")
	  foreach qw(p_days p_parts);
	is( $peer->query("SELECT countDistinct(partition) > 200 FROM system.parts"
			  . " WHERE table = 'p_days'"),
		'1', 'a table with a partition for each day is filled by halves');
	like(
		join(' ', map { $_->{code} // '' } calls('p_days')),
		qr/252/, 'as the engine refused it whole');
	return;
}

# The native port of a server, which is told by its answer where its number
# says nothing.
sub wrong_port
{
	my $listener = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		Listen => 5) or die "could not listen: $@";
	my $pid = fork // die "fork: $!";

	if ($pid == 0)
	{
		while (my $client = $listener->accept)
		{
			$client->sysread(my $request, 65536);
			$client->syswrite("HTTP/1.0 400 Bad Request\r\n\r\n"
				  . "Port 9000 is for clickhouse-client program\r\n"
				  . "You must use port 8123 for HTTP.\r\n");
			shutdown $client, 1;
			1 while $client->sysread($request, 65536);
		}
		require POSIX;
		POSIX::_exit(0);
	}
	set_targets($node,
		'native=clickhouse://u@127.0.0.1:' . $listener->sockport . '/');
	status_says('native',
		{ cause => 'config', words => "this is ClickHouse's native port" });
	kill 'KILL', $pid;
	waitpid $pid, 0;
	return;
}

# Connections that are cut by somebody between, within the request and within
# the answer; and one that the server has closed because it was idle.
sub cut_by_proxy
{
  SKIP:
	{
		my $why = toxiproxy_hindrance();

		skip $why, 6 if defined $why;
		my $proxy = Toxiproxy->new('127.0.0.1', $peer->port);

		start_targets('x',
			cut => { port => $proxy->port, compression => 'none' });
		cut($proxy, 'before the request', upstream => 1, bytes => 1);
		cut($proxy, 'within the request', upstream => 1, bytes => 4000);
		cut($proxy, 'within the answer', downstream => 1, bytes => 30);
	}
	return;
}

# Every connection, until the lane has seen it.
sub cut
{
	my ($proxy, $where, %toxic) = @_;
	my $name = $proxy->add('limit_data', %toxic);

	insert_some();
	wait_until($node, 'app',
		"SELECT attempts > 1 FROM token_ledger.lanes WHERE target = 'x_cut'",
		't', "cut $where: it is tried again");
	$proxy->remove($name);
	all_caught_up("cut $where");
	is(digest('x_cut'), digest('x_good'),
		"cut $where: each event is there once");
	return;
}

# Something keeps a request back, unseen by the server, for longer than the lane
# waits and asks, and delivers it when the lane has sent the events again.
sub delivered_late
{
	my $wire = Torture::Wire->new($peer->host . ':' . $peer->port);
	my $inserts = sub {
		my ($state) = @_;

		return scalar grep {
			$_->{query} =~ /^INSERT INTO `default`\.`l_late` /
			  && (!$state || $_->{state} eq $state)
		} $peer->journal;
	};

	start_targets('l', late => { port => $wire->port, timeout => '3s' });
	$wire->order('hold up 200');
	insert_some();
	ok($peer->await($PATIENCE, sub { ($wire->count)[2] }),
		'a request is kept back');
	all_caught_up('kept back');
	is($inserts->(), '1', 'the server has seen one INSERT, which came later');
	$wire->order('open');
	ok($peer->await($PATIENCE, sub { $inserts->() == 2 && !$inserts->('received') }),
		'the one that was kept back is delivered in the end');
	is(digest('l_late'), digest('l_good'), 'each event is there once');
	return;
}

# The server dies with a batch on its way, and comes back.
sub kills
{
	start_targets('k', one => {}, two => { lanes => 2, batch_rows => 15 });
	foreach my $point (qw(before body commit committed answer))
	{
		$peer->fault(point => $point, action => 'kill',
			query => 'INSERT INTO `default`.`k_', nth => 1 + int rand 4);
		insert_some();
		ok($peer->await_end($PATIENCE), "$point: the server is dead");
		insert_some();
		$peer->start;
		all_caught_up("killed at the point $point");
		is(digest($_), digest('k_good'), "$point: each event is in $_ once")
		  foreach qw(k_one k_two);
	}
	return;
}
