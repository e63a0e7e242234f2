# The peer that stands for ClickHouse, tried without the project: what other
# tests find out with it is worth what it shows here.  The engine's own
# behaviour that the backend relies on is written down here, too.
use strict;
use warnings FATAL => 'all';

use IO::Compress::Gzip qw(gzip);
use IO::Socket::INET;
use Test::More;

use ClickHousePeer;
use Toxiproxy;

my $hindrance = clickhouse_hindrance();
plan skip_all => $hindrance if defined $hindrance;

my $TABLE = 'ENGINE = MergeTree ORDER BY a'
  . ' SETTINGS non_replicated_deduplication_window = 100';
# Seconds that a slow machine may take for what is over in a moment.
my $PATIENCE = 60;
my $store = ClickHousePeer->new;

speaks();
inserts();
compression();
tokens();
codes();
engine_facts();
survives_kill9();
queries_in_flight();
faults_before_commit();
faults_after_commit();
fault_choice();
lost_part();
$store->stop;
authenticates();
tls();
through_proxy();
done_testing();

# A table of its own for each part: its name.
my $tables;

sub new_table
{
	my (%params) = @_;
	my $name = 't' . ++$tables;

	$store->query("CREATE TABLE $name ("
		  . ($params{columns} // 'a Int32, s String') . ') '
		  . ($params{engine} // $TABLE));
	return $name;
}

sub count_rows
{
	my ($table) = @_;

	return $store->query("SELECT count() FROM $table");
}

# Status and exception code of an answer.
sub outcome
{
	my ($answer) = @_;

	return "$answer->{status} "
	  . ($answer->{headers}{'x-clickhouse-exception-code'} // '-');
}

sub written
{
	my ($answer) = @_;
	my ($rows) = ($answer->{headers}{'x-clickhouse-summary'} // '') =~
	  /"written_rows":"(\d+)"/;

	return $rows;
}

# Bytes sent as they are over a connection of their own; all that comes back
# until a pattern matches or the other side ends.
sub converse
{
	my ($port, @steps) = @_;
	my $socket = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $port,
		Timeout => $PATIENCE) or die "could not connect: $@";
	my ($got, @all) = ('');

	while (@steps)
	{
		my ($send, $until) = splice @steps, 0, 2;

		print {$socket} $send;
		$socket->flush;
		$got = '';
		$got .= $_ while $got !~ $until && defined($_ = read_some($socket));
		push @all, $got;
	}
	close $socket;
	return @all;
}

sub read_some
{
	my ($socket) = @_;
	my $ready = '';

	vec($ready, fileno $socket, 1) = 1;
	return undef unless select $ready, undef, undef, $PATIENCE;
	my $n = sysread $socket, my $bytes, 65536;
	return $n ? $bytes : undef;
}

# HTTP.

sub speaks
{
	my $answer = $store->request('GET', '/ping');

	is("$answer->{status} $answer->{content}", "200 Ok.\n", 'ping');
	is($store->query('SELECT 1 + 1'), '2', 'a statement in the body');
	is( $store->request('GET', '/', query => { query => 'SELECT 3' })
		  ->{content},
		"3\n",
		'one in the URL');
	is( $store->query(
			'SELECT {x:UInt8} + 1 AS y, getSetting(\'max_threads\') AS t',
			query => {
				param_x => 5,
				max_threads => 2,
				default_format => 'JSONEachRow'
			}),
		'{"y":6,"t":2}',
		'a parameter, a setting and a format in the URL');
	is($store->query("SELECT s || '\x{df}\x{1f600}' FROM values('s String', 'a')"),
		do { my $s = "a\x{df}\x{1f600}"; utf8::encode($s); $s },
		'text is UTF-8');

	$answer =
	  $store->request('POST', '/', query => { query => 'SELECT 1',
			query_id => 'mine' });
	is($answer->{headers}{'x-clickhouse-query-id'},
		'mine', 'the query id comes back');
	like($answer->{headers}{'x-clickhouse-server-display-name'} // '',
		qr/./, 'the server says its name');
	is( outcome($store->request('GET', '/',
				query => { query => 'CREATE TABLE x (a Int8) ENGINE = Log' })),
		'500 164',
		'GET only reads');
	is(outcome($store->request('GET', '/nothing')), '404 -', 'no such page');
	speaks_http();
	return;
}

sub speaks_http
{
	my $table = new_table();
	my $url = "POST /?query=INSERT%20INTO%20$table%20FORMAT%20TSV HTTP/1.1\r\n"
	  . "Host: localhost\r\n";
	my @got = converse(
		$store->port,
		"${url}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n",
		qr/\r\n\r\n/,
		"1\ta\n",
		qr/\r\n0\r\n\r\n|^0\r\n\r\n/m,
		"${url}Transfer-Encoding: chunked\r\n\r\n2\r\n2\t\r\n2\r\nb\n\r\n0\r\n\r\n",
		qr/^0\r\n\r\n/m);

	like($got[0], qr{^HTTP/1\.1 100 Continue\r\n\r\n$},
		'the body is asked for before it comes');
	like($got[1], qr{^HTTP/1\.1 200 OK\r\n}, 'and taken');
	like($got[2], qr{^HTTP/1\.1 200 OK\r\n},
		'the next one on the same connection, in chunks');
	is(count_rows($table), '2', 'both were stored');

	@got = converse($store->port, "${url}Content-Length: 8\r\n\r\n3\tc\n", qr/^/);
	@got = converse($store->port,
		"${url}Transfer-Encoding: chunked\r\n\r\n4\r\n3\tc\n\r\n", qr/^/);
	ok( $store->await($PATIENCE,
			sub { 2 == grep { $_ } $store->journal(state => 'short body') }),
		'bodies that end early are noticed');
	is(count_rows($table), '2', 'a body that ends early is not executed');

	@got = converse($store->port, "POST /?query=SELECT%201 HTTP/1.1\r\n"
		  . "Host: localhost\r\n\r\n", qr/^0\r\n\r\n/m);
	like($got[0], qr/^HTTP\/1\.1 411 .*Code: 381\. /s,
		'a POST says how long it is');
	return;
}

# Inserts.

sub inserts
{
	my $table = new_table();
	my $answer = $store->insert("INSERT INTO $table (s, a) FORMAT TSV",
		"x\t1\ny\t2\n", query => { wait_end_of_query => 1 });

	is(outcome($answer), '200 -', 'an insert');
	is($answer->{content}, '', 'is answered by nothing');
	is(written($answer), '2', 'but the number of rows');
	$answer = $store->insert("INSERT INTO $table FORMAT Native",
		"\x01\x02\x01s\x06String\x03abc\x00");
	is(outcome($answer), '200 -', 'FORMAT Native');
	$store->query("INSERT INTO $table VALUES (3, 'INSERT FORMAT'), (4, '')");
	$store->query("INSERT INTO $table (a)\nFORMAT CSV\n5\n6");
	$store->query("INSERT INTO $table SELECT a + 10, s FROM $table");
	is( $store->query("SELECT groupArray((a, s)) FROM"
			  . " (SELECT * FROM $table WHERE a < 10 ORDER BY a, s)"),
		q{[(0,''),(0,'abc'),(1,'x'),(2,'y'),(3,'INSERT FORMAT'),(4,''),}
		  . q{(5,''),(6,'')]},
		'in every form');
	is(count_rows($table), '16', 'and from a query');

	$answer = $store->insert("INSERT INTO $table FORMAT Native",
		"\x01\x01\x01s\x06String\x01a\x01\x05\x01s\x06String\x01a");
	is(outcome($answer), '500 33', 'a body with a torn second block');
	unlike($answer->{content}, qr/spool|uri/, 'without a word of files');
	is(count_rows($table), '16', 'leaves nothing of the first');
	return;
}

# As the tools zstd and lz4 make it, of the line 7<tab>abc, 1000 times.
sub compression
{
	my %body = (
		zstd => '28b52ffd6470167500003037096162630a01006797be1401a3888bc5',
		lz4 => '04224d186c407017000000000000ce270000006f37096162630a0600'
		  . 'ffffffffffffffffffffffffffffffffffffffffffffff6950096162630a0000'
		  . '0000ec3733dd');
	my $table = new_table();
	my $text = "7\tabc\n" x 1000;

	$_ = pack 'H*', $_ foreach values %body;
	gzip(\$text => \$body{gzip});
	foreach my $coding (sort keys %body)
	{
		my $send = sub {
			return $store->insert("INSERT INTO $table FORMAT TSV", shift,
				headers => { 'Content-Encoding' => $coding });
		};

		$store->query("TRUNCATE TABLE $table");
		is(outcome($send->($body{$coding})), '200 -', "$coding is taken");
		is($store->query("SELECT count(), any(s) FROM $table"),
			"1000\tabc", "$coding is understood");
		substr($body{$coding}, $coding eq 'gzip' ? -8 : -1, 1) ^= "\x10";
		is($send->($body{$coding})->{status},
			500, "$coding with a wrong checksum is refused");
		is(count_rows($table), '1000', "and nothing of it stored ($coding)");
	}
	is( outcome($store->insert("INSERT INTO $table FORMAT TSV", '',
				headers => { 'Content-Encoding' => 'rot13' })),
		'501 48',
		'an unknown compression');
	return;
}

sub tokens
{
	my $table = new_table();
	my $send = sub {
		my ($token, $data) = @_;

		return $store->insert("INSERT INTO $table FORMAT TSV", $data,
			query => { insert_deduplication_token => $token });
	};

	$send->('one', "1\ta\n");
	my $answer = $send->('one', "2\tb\n");
	is(outcome($answer), '200 -', 'a token that was used is accepted');
	is(written($answer), '1', 'says that it wrote');
	is(count_rows($table), '1', 'and writes nothing');
	$send->('two', "1\ta\n");
	is(count_rows($table), '2', 'another token writes the same rows again');
	is( join(' ', map { "$_->{token}:$_->{rows}" }
			  $store->journal(kind => 'insert', query_id =>
				  (map { $_->{headers}{'x-clickhouse-query-id'} } $answer)[0])),
		'one:1',
		'the journal has token and rows');
	return;
}

# What the engine refuses, and the status that it is told with.
sub codes
{
	my $table = new_table(columns => 'a Int32, s String, b UInt8 DEFAULT 1');
	my %select = (
		'SELECT * FROM nope' => '404 60',
		'SELECT nope' => '404 47',
		'SELECT nope()' => '404 46',
		'SELEC 1' => '400 62',
		'SELECT 1; SELECT 2' => '400 62',
		' ' => '400 62',
		'DROP DATABASE nope' => '404 81',
		"SELECT toInt32('x')" => '400 6',
		'SELECT 1 FORMAT Nope' => '404 73',
		'SELECT throwIf(1)' => '500 395',
		'SELECT 1 SETTINGS nope = 1' => '404 115',
		'SELECT groupArray(number) FROM numbers(10000000)'
		  . ' SETTINGS max_memory_usage = 1000000' => '500 241',
		# sleep-ok: a query that has to be busy for a while
		'SELECT sleepEachRow(0.2) FROM numbers(9)'
		  . ' SETTINGS max_block_size = 1, max_execution_time = 0.1' =>
		  '408 159');
	my @insert = (
		[ "(a, nope) FORMAT TSV", "1\t1\n", '500 16' ],
		[ "(a) FORMAT TSV", "x\n", '400 27' ],
		[ "(a, b) FORMAT CSV", "1,x\n", '400 117' ],
		[ "(s) FORMAT Native", "\1\1\1t\6String\1a", '400 117' ],
		[ "(s) FORMAT Native", "\1\1\1s\x10Nullable(String)\1\0", '500 349' ],
		[ "(s) FORMAT Native", 'garbage', '500 33' ]);

	is(outcome($store->request('POST', '/', content => $_)),
		$select{$_}, "$select{$_} of: $_")
	  foreach sort keys %select;
	foreach my $case (@insert)
	{
		my ($how, $data, $expected) = @$case;
		my $answer = $store->insert(
			"INSERT INTO $table $how",
			$data,
			query => {
				input_format_skip_unknown_fields => 0,
				input_format_null_as_default => 0
			});

		is(outcome($answer), $expected, "$expected $how");
		like($answer->{content}, qr/^Code: \d+\. DB::Exception: (?!Code:)/,
			'in words');
	}
	is(count_rows($table), '0', 'nothing was inserted');
	is( outcome($store->request('POST', '/', query => $_->[0])),
		$_->[1],
		$_->[2])
	  foreach [ { query => 'SELECT 1', nope => 1 }, '404 115',
		'an unknown setting in the URL' ],
	  [ { query => 'SELECT 1', database => 'nope' }, '404 81',
		'an unknown database in the URL' ],
	  [ { query => 'SELECT 1', session_id => 1 }, '501 48',
		'a parameter that the peer does not know' ];
	return;
}

sub engine_facts
{
	my $table = new_table(
		columns => 'a Int32, d DateTime64(6, \'UTC\')',
		engine => 'ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY a'
		  . ' TTL toDateTime(d) + INTERVAL 90 DAY'
		  . ' SETTINGS parts_to_throw_insert = 3');
	my $answer = $store->insert("INSERT INTO $table FORMAT TSV",
		"1\t2000-01-01 00:00:00\n2\t2200-01-01 00:00:00\n");

	is(outcome($answer) . ' ' . written($answer),
		'200 - 2', 'rows older than the TTL are accepted');
	# Often at once, or else by a merge.
	$store->query("OPTIMIZE TABLE $table FINAL");
	is(count_rows($table), '1', 'and dropped');

	my $months = join '',
	  map { sprintf "%d\t%d-%02d-01 00:00:00\n", $_, 2100 + $_ / 12, $_ % 12 + 1 }
	  1 .. 101;
	$answer = $store->insert("INSERT INTO $table FORMAT TSV", $months);
	is(outcome($answer), '500 252', 'more than a hundred months at once');
	like($answer->{content}, qr/Too many partitions for single INSERT block/,
		'are too many partitions');

	$store->query("SYSTEM STOP MERGES $table");
	$store->insert("INSERT INTO $table FORMAT TSV", "$_\t2200-01-01 00:00:00\n")
	  foreach 1 .. 2;
	$answer =
	  $store->insert("INSERT INTO $table FORMAT TSV", "9\t2200-01-01 00:00:00\n");
	is(outcome($answer), '500 252', 'and many inserts without a merge');
	like($answer->{content}, qr/Too many parts/, 'are too many parts');
	return;
}

sub survives_kill9
{
	my $table = new_table();
	my $port = $store->port;
	my $acknowledged = 0;

	foreach my $round (1 .. 2)
	{
		foreach my $n (1 .. 5)
		{
			my $answer =
			  $store->insert("INSERT INTO $table FORMAT TSV", "$round$n\tx\n" x 10);

			$acknowledged += 10 if $answer->{success};
		}
		$store->kill9->start;
	}
	is($store->port, $port, 'the same port after kill -9');
	is($acknowledged, 100, 'inserts between kills are acknowledged');
	is(count_rows($table), $acknowledged, 'and what was acknowledged is there');
	is(scalar($store->journal(kind => 'insert', query =>
				"INSERT INTO $table FORMAT TSV")), 10,
		'the journal knows them all');
	return;
}

# Runs an insert in a process of its own, which ends with its outcome; returns
# a function that waits for that and returns it.
sub in_background
{
	my ($run) = @_;
	my $pid = open(my $output, '-|') // die "could not fork: $!";

	if ($pid == 0)
	{
		print $run->();
		STDOUT->flush;
		require POSIX;
		POSIX::_exit(0);
	}
	return sub {
		local $/;
		my $text = <$output>;

		close $output;
		return $text;
	};
}

sub queries_in_flight
{
	my $table = new_table();
	my $insert = "INSERT INTO $table FORMAT TSV";
	my $running = 'SELECT count() FROM system.processes WHERE query_id = ';
	my $kill = 'KILL QUERY WHERE query_id = ';
	my $id = 0;

	is($store->query("${kill}'nobody' SYNC"), '', 'nobody to kill');
	foreach my $where (
		[ 'its body', point => 'body' ],
		[ 'the engine', point => 'commit' ])
	{
		my ($what, %fault) = @$where;

		$store->fault(%fault, action => 'hang');
		my $outcome = in_background(
			sub {
				return outcome($store->insert($insert, "1\ta\n",
						query => { query_id => 'q' . ++$id }));
			});
		$id++;
		ok($store->await_hanging(1, $PATIENCE), "an insert hangs before $what");
		is($store->query("${running}'q$id'"), '1', 'it is running');
		is( outcome($store->insert($insert, '',
					query => { query_id => "q$id" })),
			'500 216',
			'no second one can have its id');
		is( $store->query("${kill}'q$id' SYNC"),
			"finished\tq$id\tdefault\t$insert",
			'it is killed');
		is($store->query("${running}'q$id'"), '0', 'it is gone');
		is($outcome->(), '500 394', 'it was told so');
		$store->clear_faults;
	}
	is(count_rows($table), '0', 'nothing of them is stored');

	my $outcome = in_background(
		sub {
			# sleep-ok: a query that has to be busy until it is killed
			return outcome($store->request('POST', '/', content =>
					"INSERT INTO $table SELECT sleepEachRow(0.1), '' FROM"
					  . ' numbers(600) SETTINGS max_block_size = 1',
				query => { query_id => 'busy' }));
		});
	ok( $store->await($PATIENCE,
			sub { $store->query("${running}'busy'") eq '1' }),
		'an insert is busy in the engine');
	like($store->query("${kill}'busy' SYNC"), qr/^finished\tbusy\t/,
		'it is killed');
	is($outcome->(), '500 394', 'and told so');
	is(count_rows($table), '0', 'nothing of it is stored');
	return;
}

# Faults.  What each does to the client, the store and the peer.

sub met
{
	my ($table, %fault) = @_;
	my $peer_ends = $fault{action} eq 'kill';

	$store->query("TRUNCATE TABLE $table");
	$store->fault(%fault);
	my $answer = $store->insert("INSERT INTO $table FORMAT TSV",
		"1\ta\n2\tb\n", timeout => $fault{action} eq 'hang' ? 0.3 : $PATIENCE);
	if ($peer_ends)
	{
		ok($store->await_end($PATIENCE), "$fault{point} kill: it ends");
		$store->start;
	}
	elsif ($fault{action} eq 'hang')
	{
		# The client may have left before its request came as far as this.
		ok($store->await_hanging(1, $PATIENCE), "$fault{point} hang: it hangs");
		$store->clear_faults;
	}
	else
	{
		$store->clear_faults;
	}
	return $answer;
}

sub faults_before_commit
{
	my $table = new_table();

	foreach my $point (qw(before body commit))
	{
		foreach my $action (qw(kill rst fin))
		{
			is(outcome(met($table, point => $point, action => $action)),
				'599 -', "$point $action: no answer");
			is(count_rows($table), '0', "$point $action: nothing is stored");
		}
		is( outcome(met($table,
					point => $point,
					action => 'error',
					code => 202,
					status => 503,
					text => 'Enough.')),
			'503 202',
			"$point error: the code that was planned");
		is(count_rows($table), '0', "$point error: nothing is stored");
	}
	my $answer = met($table, point => 'commit', action => 'ok_exception',
		code => 241);
	is("$answer->{status} $answer->{headers}{'x-clickhouse-exception-tag'}",
		'200 ' . ($answer->{content} =~ /^__exception__\r\n(\w+)\r\nCode: 241/)[0],
		'an exception after a 200');
	$answer = met($table, point => 'commit', action => 'ok_exception',
		tagged => 0);
	like("$answer->{status} $answer->{content}", qr/^200 Code: 241\. DB/,
		'one as older versions tell it');
	is(count_rows($table), '0', 'nothing is stored');

	is(outcome(met($table, point => 'commit', action => 'hang')),
		'599 -', 'a client that loses its patience');
	ok( $store->await($PATIENCE, sub { count_rows($table) eq '2' }),
		'may find its rows stored later');
	is( outcome(met($table, point => 'body', action => 'slow',
				bytes_per_second => 80)),
		'200 -', 'a body that is read slowly');
	return;
}

sub faults_after_commit
{
	my $table = new_table();

	foreach my $point (qw(committed answer))
	{
		foreach my $action (qw(kill rst fin hang))
		{
			is(outcome(met($table, point => $point, action => $action)),
				'599 -', "$point $action: no whole answer");
			is(count_rows($table), '2', "$point $action: all is stored");
		}
	}
	is(outcome(met($table, point => 'committed', action => 'error', code => 319)),
		'500 319', 'an error although all is stored');
	is(count_rows($table), '2', 'it is');
	is(written(met($table, point => 'committed', action => 'rows', rows => 1)),
		'1', 'a wrong number of rows');
	is(outcome(met($table, point => 'answer', action => 'slow', seconds => 0.1)),
		'200 -', 'an answer in two parts');

	$store->fault(point => 'answer', action => 'fin', bytes => 17);
	my @got = converse($store->port, "POST /?query=INSERT%20INTO%20$table%20"
		  . "FORMAT%20TSV HTTP/1.1\r\nHost: l\r\nContent-Length: 4\r\n\r\n1\ta\n",
		qr/^0\r\n\r\n/m);
	is($got[0], "HTTP/1.1 200 OK\r\n", 'an answer that is cut where planned');
	is_deeply(
		[ map { $_->{faults}[0] . ' ' . $_->{state} }
			  ($store->journal(kind => 'insert'))[-1] ],
		['answer fin dropped'],
		'the journal says what happened');
	return;
}

sub fault_choice
{
	my $table = new_table();
	my $hit = sub {
		my ($n, %fault) = @_;
		my $pattern = '';

		$store->fault(point => 'before', action => 'error', code => 202, %fault);
		foreach my $i (1 .. $n)
		{
			my $answer = $store->insert("INSERT INTO $table FORMAT TSV",
				"$i\tx\n", query => { insert_deduplication_token => "t$i" });

			$pattern .= $answer->{success} ? '.' : 'x';
		}
		$store->clear_faults;
		return $pattern;
	};

	is($hit->(5), 'x....', 'the first, if nothing else is said');
	is($hit->(5, nth => 2, times => 2), '.xx..', 'the second and third');
	is($hit->(5, times => 0), 'xxxxx', 'all');
	is($hit->(5, token => '^t4$', times => 0), '...x.', 'by the token');
	is($hit->(3, query => 'nothing'), '...', 'none that it does not match');
	my $random = $hit->(30, times => 0, probability => 0.5, seed => 7);
	like($random, qr/x.*\..*x|\..*x.*\./, 'by chance');
	is($hit->(30, times => 0, probability => 0.5, seed => 7),
		$random, 'the same chance again for the same seed');
	is($hit->(3, kind => 'select'), '...', 'no insert if it is for SELECT');
	foreach my $wrong ([ point => 'never' ], [ actoin => 'kill' ],
		[ action => 'rows' ], [ query => '(' ])
	{
		ok(!eval { $hit->(0, @$wrong); 1 }, "refused: @$wrong");
	}
	return;
}

# The token of an insert is written down before its part is renamed to what
# makes it count.  The server is a fresh one: in the tables of the tests above
# merges, and the removal of what they leave, would rename as well, at any time.
sub lost_part
{
  SKIP:
	{
		my $why = strace_hindrance();

		skip $why, 10 if defined $why;
		lost_part_by($_) foreach qw(kill fail);
	}
	return;
}

sub lost_part_by
{
	my ($how) = @_;
	my $peer = ClickHousePeer->new;
	my $send = sub {
		return outcome($peer->insert('INSERT INTO t FORMAT TSV',
				"1\ta\n2\tb\n",
				query => { insert_deduplication_token => shift }));
	};
	my $count = sub { return $peer->query('SELECT count() FROM t') };

	$peer->query("CREATE TABLE t (a Int32, s String) $TABLE");
	$peer->stop->start(break_rename => $how);
	is( $send->('lost'),
		$how eq 'kill' ? '599 -' : '500 1001',
		"an insert whose rename ends in: $how");
	$peer->kill9->start;
	is($count->(), '0', 'is not there');
	is($send->('lost'), '200 -', 'its token is accepted again');
	is($count->(), '0', 'and its rows never come');
	$send->('another');
	is($count->(), '2', 'but by another token');
	$peer->stop;
	return;
}

# Who may ask.

sub authenticates
{
	my $peer = ClickHousePeer->new(user => 'u', password => 'se cret',
		token => 'bearer-token', keep_alive => 1);
	my $ask = sub {
		my ($query, %headers) = @_;

		return outcome(HTTP::Tiny->new->request('GET',
				$peer->base . "/?query=SELECT%201$query",
				{ headers => \%headers }));
	};
	my %right =
	  ('X-ClickHouse-User' => 'u', 'X-ClickHouse-Key' => 'se cret');
	my %basic = (Authorization => 'Basic dTpzZSBjcmV0');

	is($ask->('', %right), '200 -', 'user and password in headers');
	is($ask->('', %basic), '200 -', 'by Basic');
	is($ask->('&user=u&password=se+cret'), '200 -', 'in the URL');
	is($ask->('', Authorization => 'Bearer bearer-token'),
		'200 -', 'a bearer token');
	is($ask->(@$_), '403 516', "refused: @$_")
	  foreach [''], [ '', %right, 'X-ClickHouse-Key' => 'wrong' ],
	  [ '', %right, 'X-ClickHouse-User' => 'v' ],
	  [ '', %right, %basic ], [ '&user=u', %basic ],
	  [ '', Authorization => 'Bearer wrong' ],
	  [ '', Authorization => 'Nonsense x' ];
	like($peer->request('GET', '/', headers => { 'X-ClickHouse-Key' => 'x' })
		  ->{content},
		qr/^Code: 516\. DB::Exception: u: Authentication failed: /,
		'in the words of the server');

	my @got = converse($peer->port, "GET /ping HTTP/1.1\r\nHost: l\r\n\r\n",
		qr/Ok\.\n/, '', qr/never/);
	is($got[1], '', 'an idle connection is closed');
	return;
}

# TLS.

sub tls
{
  SKIP:
	{
		skip 'no openssl or no curl', 6
		  if system("openssl version >/dev/null 2>&1 && curl -V >/dev/null 2>&1");
		tls_with(make_certificates());
	}
	return;
}

sub make_certificates
{
	my $dir = File::Temp->newdir('tls_XXXX', TMPDIR => 1);
	my $script = <<'EOC';
set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
for ca in ca other; do
	openssl req -x509 $key -days 2 -subj "/CN=$ca" \
		-keyout $ca.key -out $ca.pem
done
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >san
for name in server u; do
	openssl req $key -subj "/CN=$name" \
		-keyout $name.key -out $name.csr
	openssl x509 -req -days 2 -in $name.csr -CA ca.pem -CAkey ca.key \
		-CAcreateserial -extfile san -out $name.pem
done
EOC
	open my $shell, '|-', "cd '$dir' && sh >log 2>&1" or die "no shell: $!";
	print {$shell} $script;
	close $shell or die 'could not make certificates';
	return $dir;
}

sub tls_with
{
	my ($dir) = @_;
	my $peer = ClickHousePeer->new(user => 'u', password => 'p',
		tls_cert => "$dir/server.pem", tls_key => "$dir/server.key");
	my $curl = sub {
		my ($port, @options) = @_;
		my $output = qx(curl -s -m $PATIENCE @options 'https://127.0.0.1:$port/?query=SELECT+1' 2>&1);

		chomp $output;
		return ($? >> 8) . " $output";
	};

	is($curl->($peer->port, "--cacert $dir/ca.pem -u u:p"),
		'0 1', 'TLS with the right authority');
	is($curl->($peer->port, "--cacert $dir/other.pem -u u:p"),
		'60 ', 'and with another one');
	$peer->stop;

	$peer = ClickHousePeer->new(user => 'u', password => 'p',
		tls_cert => "$dir/server.pem", tls_key => "$dir/server.key",
		client_ca => "$dir/ca.pem");
	my $by_name = "-H 'X-ClickHouse-User: u'"
	  . " -H 'X-ClickHouse-SSL-Certificate-Auth: on'";
	unlike($curl->($peer->port, "--cacert $dir/ca.pem -u u:p"),
		qr/^0 /, 'a client without the certificate that is demanded');
	is( $curl->($peer->port, "--cacert $dir/ca.pem -u u:p"
			  . " --cert $dir/u.pem --key $dir/u.key"),
		'0 1', 'with it');
	is( $curl->($peer->port, "--cacert $dir/ca.pem $by_name"
			  . " --cert $dir/u.pem --key $dir/u.key"),
		'0 1', 'a certificate that names the user is enough');
	like($curl->($peer->port, "--cacert $dir/ca.pem $by_name"
			  . " --cert $dir/server.pem --key $dir/server.key"),
		qr/^0 Code: 516\./, 'another one is not');
	return;
}

# Cut connections.

sub through_proxy
{
  SKIP:
	{
		my $why = toxiproxy_hindrance();

		skip $why, 8 if defined $why;
		proxy_cuts();
	}
	return;
}

sub proxy_cuts
{
	my $peer = ClickHousePeer->new;
	my $proxy = Toxiproxy->new('127.0.0.1', $peer->port);
	my $url = 'http://127.0.0.1:' . $proxy->port
	  . '/?query=INSERT%20INTO%20t%20FORMAT%20TSV';
	my $send = sub {
		return outcome(HTTP::Tiny->new(keep_alive => 0, timeout => $PATIENCE)
			  ->post($url, { content => "1\ta\n" x 1000 }));
	};
	my $count = sub { return $peer->query('SELECT count() FROM t') };

	$peer->query("CREATE TABLE t (a Int32, s String) $TABLE");
	is($send->(), '200 -', 'through a proxy');
	is($count->(), '1000', 'rows arrive');
	my $toxic = $proxy->add('limit_data', upstream => 1, bytes => 2000);
	is($send->(), '599 -', 'a request that is cut');
	is($count->(), '1000', 'is not executed');
	$proxy->remove($toxic);
	$proxy->add('limit_data', downstream => 1, bytes => 20);
	$peer->query('TRUNCATE TABLE t');
	is($send->(), '599 -', 'an answer that is cut');
	is($count->(), '1000', 'does not undo the insert');
	$proxy->clear;
	$proxy->off;
	is($send->(), '599 -', 'no connection at all');
	$proxy->on;
	$peer->query('TRUNCATE TABLE t');
	is($send->(), '200 -', 'and one again');
	return;
}
