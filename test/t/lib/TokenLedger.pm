
=pod

=head1 NAME

TokenLedger - nodes, events and checks for tokenledger's TAP tests

=head1 SYNOPSIS

  use PostgreSQL::Test::Cluster;
  use TokenLedger;

  my $node = ledger_node('main', databases => ['app'],
	  targets => 'mirror=' . store_url($node, 'store'));
  insert_events($node, 'app', 1000);
  forwarded_ok($node, 'app', 'mirror', $node, 'store');
  identity_ok($node, 'app');

=head1 DESCRIPTION

Built on PostgreSQL::Test::Cluster.  Nothing here sleeps for a time and hopes:
wait_until polls with a deadline, and when that passes shows what the ledger
knows of its targets and what the server logged.

=cut

package TokenLedger;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

our @EXPORT = qw(
  ledger_node
  create_ledger
  create_store
  store_url
  set_targets
  insert_events
  load_trace
  lane_pids
  wait_until
  psql_output
  caught_up_ok
  forwarding_differences
  forwarded_ok
  identity_ok
  diag_ledger
);

our $EVENTS = 'token_ledger.token_ledger_events';
our $STORE_TABLE = 'public.token_ledger_events';

=pod

=head1 NODES

=over

=item ledger_node($name, %params)

A running server with the library preloaded.  databases: reference to a list of
databases to create with the extension in them, and to forward from (default
['app']).  targets: the text of tokenledger.targets.  conf: more settings.
streaming => 1: for standbys.  archiving => 1: for restores to a point in time.  start => 0: initialized only, without databases.

=cut

sub ledger_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my @databases = @{ $params{databases} // ['app'] };

	$node->init(
		allows_streaming => $params{streaming} // 0,
		has_archiving => $params{archiving} // 0,
		extra => [ '--no-locale', '--encoding=UTF8' ]);
	$node->append_conf('postgresql.conf', _settings(\@databases, \%params));
	return $node if defined $params{start} && !$params{start};

	$node->start;
	create_ledger($node, $_) foreach @databases;
	return $node;
}

# A crash must be survived, not end the test; and the log of every statement
# hides what matters.
sub _settings
{
	my ($databases, $params) = @_;
	my $targets = _quoted($params->{targets} // '');
	my $list = _quoted(join ', ', @$databases);

	return <<EOC . ($params->{conf} // '') . "\n";
shared_preload_libraries = 'tokenledger'
tokenledger.databases = $list
tokenledger.targets = $targets
max_worker_processes = 32
max_prepared_transactions = 20
max_connections = 60
restart_after_crash = on
log_statement = none
EOC
}

sub _quoted
{
	my ($text) = @_;

	$text =~ s/'/''/g;
	return "'$text'";
}

=pod

=item create_ledger($node, $database)

Creates the database, unless it is there, and the extension in it.

=cut

sub create_ledger
{
	my ($node, $database) = @_;

	create_store($node, $database);
	$node->safe_psql($database, 'CREATE EXTENSION IF NOT EXISTS tokenledger');
	return;
}

=pod

=item create_store($node, $database)

Creates the database, unless it is there; its table is the backend's to make.

=cut

sub create_store
{
	my ($node, $database) = @_;
	my $there = $node->safe_psql('postgres',
		"SELECT 1 FROM pg_database WHERE datname = '$database'");

	$node->safe_psql('postgres', qq(CREATE DATABASE "$database"))
	  if $there eq '';
	return;
}

=pod

=item store_url($node, $database, %options)

The URL of a database of a node as a target, by its socket; options are added
as they are given.

=cut

sub store_url
{
	my ($node, $database, %options) = @_;
	my %all = (host => $node->host, port => $node->port, %options);
	my $user = $options{user} // getpwuid($>);

	delete $all{user};
	return "postgresql://$user@/$database?"
	  . join('&', map { "$_=" . _encoded($all{$_}) } sort keys %all);
}

sub _encoded
{
	my ($value) = @_;

	$value =~ s/([^A-Za-z0-9_.\/-])/sprintf('%%%02X', ord $1)/ge;
	return $value;
}

=pod

=item set_targets($node, $targets)

Changes tokenledger.targets in the running server.

=cut

sub set_targets
{
	my ($node, $targets) = @_;

	$node->safe_psql('postgres',
		'ALTER SYSTEM SET tokenledger.targets = ' . _quoted($targets));
	$node->reload;
	return;
}

=pod

=item lane_pids($node, $database, $target)

Process ids of the lanes that run now, in the order of their numbers.

=cut

sub lane_pids
{
	my ($node, $database, $target) = @_;

	return split /\n/, $node->safe_psql($database,
		"SELECT pid FROM token_ledger.lanes WHERE target = '$target'"
		  . ' AND pid IS NOT NULL ORDER BY lane');
}

=pod

=back

=head1 EVENTS

=over

=item insert_events($node, $database, $n, %params)

Inserts n events whose values depend on their number alone, among them NULL,
empty and non-ASCII texts, a NaN cost and every type.  first: number of the
first (default 1).  per_transaction: rows of each transaction (default all in
one).  set: SQL expressions by column that replace the usual ones; i is the
number.  Returns n.

=cut

sub insert_events
{
	my ($node, $database, $n, %params) = @_;
	my $first = $params{first} // 1;
	my $last = $first + $n - 1;
	my $step = $params{per_transaction} // $n;
	my $insert = _insert($params{set} // {});

	return 0 if $n == 0;
	$node->safe_psql($database, <<EOC);
DO \$\$
BEGIN
	FOR a IN $first .. $last BY $step LOOP
		$insert
		FROM generate_series(a, least(a + $step - 1, $last)) i;
		COMMIT;
	END LOOP;
END \$\$;
EOC
	return $n;
}

sub _insert
{
	my ($set) = @_;
	my %value = (
		event_id => "md5('event ' || i)::uuid",
		trace_id => "CASE WHEN i % 3 = 0 THEN md5('trace ' || i)::uuid END",
		timestamp => "timestamptz '2026-01-01 00:00Z' + i * interval '7 s'",
		duration_ms => 'CASE WHEN i % 5 > 0 THEN i * 0.125 END',
		provider => "(ARRAY['openai', 'anthropic', 'local'])[i % 3 + 1]",
		model => "'model-' || i % 7",
		input_tokens => 'i % 4000',
		output_tokens => 'i % 900',
		total_tokens => 'i % 4000 + i % 900',
		cost_usd => "CASE WHEN i % 97 = 0 THEN 'NaN'"
		  . ' WHEN i % 11 > 0 THEN (i % 4000) * 0.00000125 END',
		user_id => "CASE WHEN i % 4 > 0 THEN 'user-' || i % 50 END",
		app_name => "CASE WHEN i % 13 = 0 THEN '' ELSE 'app ' || i % 3 END",
		metadata => "CASE WHEN i % 2 = 0 THEN jsonb_build_object('n', i) END",
		request_preview => "CASE WHEN i % 6 = 0"
		  . " THEN U&'Gr\\00FC\\00DFe \\+01F600\\000A\\0009\\005C' || i END",
		%$set);
	my @columns = sort keys %value;

	return
		"INSERT INTO $EVENTS ("
	  . join(', ', map { qq("$_") } @columns)
	  . ') SELECT '
	  . join(', ', map { $value{$_} } @columns);
}

=pod

=item load_trace($node, $database)

Loads the real trace, where the directory TOKENLEDGER_DATA has it, one event a
request; returns their number, undef without the trace.

=cut

sub load_trace
{
	my ($node, $database) = @_;
	my $file = ($ENV{TOKENLEDGER_DATA} // '') . '/azure_llm_2023_conv.csv';

	return undef unless -r $file;
	$node->safe_psql($database, <<EOC);
CREATE TEMP TABLE trace (at timestamp, tokens_in bigint, tokens_out bigint);
\\copy trace FROM '$file' (FORMAT csv, HEADER)
INSERT INTO $EVENTS (timestamp, provider, model, input_tokens, output_tokens,
	total_tokens, cost_usd)
SELECT at AT TIME ZONE 'UTC', 'azure', 'conversation', tokens_in, tokens_out,
	tokens_in + tokens_out, tokens_in * 0.000003 + tokens_out * 0.000015
FROM trace;
EOC
	return $node->safe_psql($database,
		"SELECT count(*) FROM $EVENTS WHERE provider = 'azure'");
}

=pod

=back

=head1 CHECKS

=over

=item wait_until($node, $database, $sql, $expected, $what, %params)

Passes as soon as the query's output is the expected text (or matches, if it is
a qr//); fails when timeout seconds have passed (default: that of
PostgreSQL::Test::Utils), and then shows the last output and diag_ledger.  A
server that is down, or an error, is an output that is not the expected one.

=cut

sub wait_until
{
	my ($node, $database, $sql, $expected, $what, %params) = @_;
	my ($met, $last) = _poll($node, $database, $sql, $expected,
		$params{timeout});

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return pass($what) if $met;
	fail($what);
	diag("waited for: $expected\nlast output: $last\nof: $sql");
	diag_ledger($node, $database);
	return 0;
}

sub _poll
{
	my ($node, $database, $sql, $expected, $timeout) = @_;
	my $deadline =
	  time + ($timeout // $PostgreSQL::Test::Utils::timeout_default // 180);
	my $last;

	for (;;)
	{
		$last = psql_output($node, $database, $sql);
		my $met =
		  ref $expected eq 'Regexp' ? $last =~ $expected : $last eq $expected;

		return ($met, $last) if $met || time >= $deadline;
		usleep(50_000);		# sleep-ok: interval of a poll with a deadline
	}
}

=pod

=item psql_output($node, $database, $sql)

Output, or the error, of a query; the server may be down.

=cut

sub psql_output
{
	my ($node, $database, $sql) = @_;
	my ($out, $err) = ('', '');

	# psql that cannot connect may end before it has read the query.
	if (!eval {
			$node->psql($database, $sql, stdout => \$out, stderr => \$err);
			1;
		})
	{
		die $@ unless $@ =~ /Broken pipe/;
		return $@;
	}
	return $err eq '' ? $out : "$out$err";
}

=pod

=item caught_up_ok($node, $database, $target, %params)

Waits until status says that nothing is on its way and nothing waits.

=cut

sub caught_up_ok
{
	my ($node, $database, $target, %params) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until(
		$node,
		$database,
		'SELECT lag_events FROM token_ledger.status'
		  . " WHERE target = '$target'",
		'0',
		$params{name} // "$target has caught up",
		%params);
}

=pod

=item forwarding_differences($ledger, $ledger_db, $store, $store_db, %params)

Compares the ledger with a store table, event by event and column by column,
and returns a line for each event that is missing, extra, doubled or different:
none if all is well.  table: the store's (default public.token_ledger_events).
where: an SQL condition on the ledger's events that were to be forwarded.

=cut

sub forwarding_differences
{
	my ($ledger, $ledger_db, $store, $store_db, %params) = @_;
	my $table = $params{table} // $STORE_TABLE;
	my $columns = _common_columns($ledger, $ledger_db, $store, $store_db,
		$table);
	my %in_ledger = _digests($ledger, $ledger_db, $EVENTS, $columns,
		$params{where});
	my %in_store = _digests($store, $store_db, $table, $columns);
	my @found;

	foreach my $id (sort keys %in_ledger)
	{
		my $there = $in_store{$id};

		push @found,
			!defined $there                    ? "missing $id"
		  : @$there > 1                        ? "doubled $id (" . @$there . ')'
		  : $there->[0] ne $in_ledger{$id}->[0] ? "different $id"
		  :                                      ();
	}
	push @found, "extra $_"
	  foreach grep { !exists $in_ledger{$_} } sort keys %in_store;
	return @found;
}

# The columns that a store at an older version has as well.
sub _common_columns
{
	my ($ledger, $ledger_db, $store, $store_db, $table) = @_;
	my $columns = 'SELECT quote_ident(attname) FROM pg_attribute'
	  . " WHERE attrelid = '%s'::regclass AND attnum > 0"
	  . " AND NOT attisdropped AND attname NOT LIKE 'ingest\\_%%'";
	my %have = map { $_ => 1 } split /\n/,
	  $store->safe_psql($store_db, sprintf($columns, $table));

	return join ', ', grep { $have{$_} } sort split /\n/,
	  $ledger->safe_psql($ledger_db, sprintf($columns, $EVENTS));
}

# Digests of the rows by event id: a list each, for the doubled.
sub _digests
{
	my ($node, $database, $table, $columns, $where) = @_;
	my $rows = $node->safe_psql($database,
			"SET timezone = 'UTC'; SET extra_float_digits = 1;"
		  . " SELECT event_id, md5(ROW($columns)::text) FROM $table WHERE "
		  . ($where // 'true'));
	my %digests;

	foreach my $row (split /\n/, $rows)
	{
		my ($id, $digest) = split /\|/, $row;

		push @{ $digests{$id} }, $digest;
	}
	return %digests;
}

=pod

=item forwarded_ok($ledger, $ledger_db, $target, $store, $store_db, %params)

Waits until the target has caught up (but for wait => 0) and checks that the
store holds every event once, as the ledger has it, and nothing else.

=cut

sub forwarded_ok
{
	my ($ledger, $ledger_db, $target, $store, $store_db, %params) = @_;
	my $name = $params{name} // "$target holds every event once";
	my @found;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	unless (defined $params{wait} && !$params{wait})
	{
		caught_up_ok($ledger, $ledger_db, $target,
			timeout => $params{timeout})
		  or return fail($name);
	}
	@found = forwarding_differences($ledger, $ledger_db, $store, $store_db,
		%params);
	return pass($name) if !@found;
	fail($name);
	diag(scalar(@found) . " differences:\n  "
		  . join("\n  ", grep { defined } @found[ 0 .. 19 ]));
	diag_ledger($ledger, $ledger_db);
	return 0;
}

=pod

=item identity_ok($node, $database, $name)

Checks the identity of every target, by counting the ledger and by the tally: what the ledger holds and held is
forwarded, on its way, waiting, or set aside for a reason that is counted.

=cut

sub identity_ok
{
	my ($node, $database, $name) = @_;
	my $found = psql_output($node, $database,
		'SELECT a.*, i.difference AS cheap FROM token_ledger.accounting a'
		  . ' FULL JOIN token_ledger.identity i USING (target)'
		  . ' WHERE a.difference IS DISTINCT FROM 0'
		  . ' OR i.difference IS DISTINCT FROM 0');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($found, '', $name // 'the identity holds for every target')
	  || diag_ledger($node, $database);
}

=pod

=item diag_ledger($node, $database)

Prints what the ledger knows of its targets and lanes, and the end of the log.

=cut

sub diag_ledger
{
	my ($node, $database) = @_;

	foreach my $what (qw(status lanes target lane))
	{
		diag("token_ledger.$what:\n"
			  . psql_output($node, $database,
				"\\x on\n\\a\nTABLE token_ledger.$what"));
	}
	my @log = split /\n/, slurp_file($node->logfile);
	my $from = @log > 60 ? @log - 60 : 0;

	diag("log:\n" . join("\n", @log[ $from .. $#log ])) if @log;
	return 0;
}

=pod

=back

=cut

1;
