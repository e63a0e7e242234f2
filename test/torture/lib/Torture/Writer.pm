# Processes that insert events in every way that leaves another trace in the
# queue: single and many rows, COPY, savepoints, transactions that abort, that
# commit late, that are prepared and finished by somebody else, events that are
# there already, events that a store refuses, and deletions and edits by a
# superuser, which are written down.  Each feeds scripts to psql; what was
# committed is told by the ledger alone.
package Torture::Writer;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time usleep);	# sleep-ok: for the pause between scripts

our $EVENTS = 'token_ledger.token_ledger_events';
our $COLUMNS = 'event_id, "timestamp", provider, model, total_tokens,'
  . ' cost_usd, request_preview';

# Of the timestamps that events are given.
our $FIRST_DAY = '2026-01-01Z';
our $SECONDS = 10_000_000;

# Of those of events that are inserted again: a month after the others, and
# within the years that BigQuery takes.
our $BEYOND = '2026-06-01Z';

# The model of events that targets called "picky" refuse.
our $REFUSED = 'refused';

# Events that a target may have before it, and writers go on.
our $MOST_PENDING = 10_000;

# Event ids that all writers draw from, so that they meet.
our $COMMON_IDS = 3000;

my @ways = (
	[ 6, \&_single ],
	[ 5, \&_many ],
	[ 4, \&_copy ],
	[ 4, \&_savepoints ],
	[ 3, \&_aborted ],
	[ 3, \&_failed ],
	[ 4, \&_known ],
	[ 3, \&_late ],
	[ 4, \&_prepare ],
	[ 6, \&_finish_prepared ],
	[ 2, \&_loop ],
	[ 3, \&_duplicate ],
	[ 2, \&_refused ],
	[ 1, \&_delete ],
	[ 1, \&_edit ],
	[ 1, \&_flush ],
	[ 0.1, \&_large ]);

sub start
{
	my ($class, $ledger, $n) = @_;
	my $self = bless { pids => [] }, $class;
	my $parent = $$;

	foreach my $number (1 .. $n)
	{
		my $pid = fork // die "fork: $!";

		_write($ledger, $number, $parent) if $pid == 0;
		push @{ $self->{pids} }, $pid;
	}
	return $self;
}

sub stop
{
	my ($self) = @_;

	kill 'TERM', @{ $self->{pids} };
	waitpid $_, 0 foreach @{ $self->{pids} };
	$self->{pids} = [];
	return;
}

sub DESTROY
{
	my ($self) = @_;

	kill 'KILL', @{ $self->{pids} };
	return;
}

# Never returns.
sub _write
{
	my ($ledger, $number, $parent) = @_;
	my $stop = 0;
	my %writer = (number => $number, prepared => 0, ledger => $ledger);

	$SIG{$_} = sub { $stop = 1 }
	  foreach qw(TERM INT HUP);
	$SIG{PIPE} = 'IGNORE';
	srand $ledger->{seed} * 100 + $number;
	until ($stop || getppid != $parent)
	{
		_let_lanes_follow(\%writer, \$stop);
		my $script = join '', map { _transaction(\%writer) } 1 .. 4 + rand 12;

		open my $psql, '|-', $ledger->{server}->psql('app', '-f', '-')
		  or die "psql: $!";
		print $psql $script;
		close $psql;
		usleep(1000 * int rand 60);	# sleep-ok: the load's pace, awaits nothing
	}
	require POSIX;
	POSIX::_exit(0);
}

# NB: on a busy machine the lanes are slower than those who insert, and what is
# inserted in minutes would be forwarded in hours.
sub _let_lanes_follow
{
	my ($writer, $stop) = @_;

	return if time < ($writer->{look_at} // 0);
	while (!$$stop
		&& ($writer->{ledger}{server}->query('app',
				'SELECT max(lag_events) FROM token_ledger.status') || 0) >
		$MOST_PENDING)
	{
		usleep(500_000);	# sleep-ok: the load's pace
	}
	$writer->{look_at} = time + 2;
	return;
}

sub _transaction
{
	my ($writer) = @_;
	my $lot = 0;

	$lot += $_->[0] foreach @ways;
	$lot = rand $lot;
	foreach my $way (@ways)
	{
		return $way->[1]->($writer) if ($lot -= $way->[0]) < 0;
	}
	return '';
}

sub _uuid
{
	return sprintf '%04x%04x-%04x-4%03x-a%03x-%04x%04x%04x',
	  map { int rand $_ } 65536, 65536, 65536, 4096, 4096, 65536, 65536, 65536;
}

sub _common_uuid
{
	return sprintf '00000000-0000-4000-a000-%012x', int rand $COMMON_IDS;
}

# Values of a row, as SQL literals.  NB: an event keeps its time when it is
# inserted again, by which a store without an index finds it; and that is one
# which no retention reaches, as it would be another event afterwards.
sub _row
{
	my ($id) = @_;
	my $tokens = int rand 10_000;
	my ($from, $second) =
	  $id =~ /^00000000-0000-4000-a000-(.*)/
	  ? ($BEYOND, hex($1) * 3000)
	  : ($FIRST_DAY, rand $SECONDS);

	return join ', ', "'$id'",
	  sprintf("'$from'::timestamptz + '%d s'", $second),
	  "'provider'", sprintf("'model-%d'", rand 5), $tokens,
	  sprintf('%.8f', $tokens / 3e6), "'" . 'x' x int(rand 60) . "'";
}

sub _insert
{
	my ($n, $id) = @_;

	return "INSERT INTO $EVENTS ($COLUMNS) VALUES "
	  . join(', ', map { '(' . _row($id // _uuid()) . ')' } 1 .. $n);
}

sub _single
{
	return _insert(1) . ";\n";
}

sub _many
{
	return _insert(2 + rand 150) . ";\n";
}

sub _copy
{
	return "COPY $EVENTS (event_id, provider, model, total_tokens)"
	  . " FROM STDIN;\n"
	  . join('',
		map { _uuid() . "\tprovider\tcopied\t$_\n" } 1 .. 2 + rand 200)
	  . "\\.\n";
}

sub _savepoints
{
	return join ";\n", 'BEGIN', _insert(1 + rand 5), 'SAVEPOINT a',
	  _insert(1 + rand 5), 'SAVEPOINT b', _insert(2), 'RELEASE b',
	  'ROLLBACK TO a', _insert(1 + rand 5), 'SAVEPOINT c', _insert(1),
	  "COMMIT;\n";
}

sub _aborted
{
	return join ";\n", 'BEGIN', _insert(1 + rand 20, rand() < 0.3 ?
		_common_uuid() : undef), "ROLLBACK;\n";
}

sub _failed
{
	return join ";\n", 'BEGIN', _insert(1 + rand 20), 'SELECT 1 / 0',
	  "COMMIT;\n";
}

sub _known
{
	return join '', map {
		_insert(1, _common_uuid()) . " ON CONFLICT (event_id) DO NOTHING;\n"
	} 1 .. 1 + rand 5;
}

# Others begin and commit meanwhile.
sub _late
{
	my $seconds = sprintf '%.2f', rand() ** 3 * 4;

	return join ";\n", 'BEGIN', _insert(1 + rand 10),
	  "SELECT FROM pg_sleep($seconds)",	# sleep-ok: holds the transaction open
	  _insert(1 + rand 10), "COMMIT;\n";
}

sub _prepare
{
	my ($writer) = @_;
	my $name = "w$writer->{number}_" . ++$writer->{prepared};

	return join ";\n", 'BEGIN', _insert(1 + rand 20),
	  'SAVEPOINT a', _insert(1), "PREPARE TRANSACTION '$name';\n";
}

# One of its own, perhaps of before the last crash.
sub _finish_prepared
{
	my ($writer) = @_;
	my $number = $writer->{prepared} - int(rand 12);

	return '' if $number < 1;
	return sprintf "%s PREPARED 'w%d_%d';\n",
	  rand() < 0.7 ? 'COMMIT' : 'ROLLBACK', $writer->{number}, $number;
}

# Several transactions of one statement of the client's.
sub _loop
{
	return "DO \$\$ BEGIN FOR i IN 1 .. 5 LOOP\n"
	  . _insert(3, undef) =~ s/'[0-9a-f-]{36}'/gen_random_uuid()/gr
	  . ";\nIF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;\n"
	  . "END LOOP; END \$\$;\n";
}

# Fails, and takes the events before it along, if the id is there.
sub _duplicate
{
	return join ";\n", 'BEGIN', _insert(1 + rand 5),
	  _insert(1, _common_uuid()), "COMMIT;\n";
}

sub _refused
{
	return join ";\n", 'BEGIN', _insert(1 + rand 5),
	  _insert(1) =~ s/'model-\d'/'$REFUSED'/r, _insert(1),
	  "COMMIT;\n";
}

# Nobody asks whether such an event was sent; of the ids in common an
# event that was deleted would be another one when it comes again.
sub _delete
{
	return _as_superuser('deleted', "DELETE FROM $EVENTS WHERE");
}

sub _edit
{
	return _as_superuser('edited',
		"UPDATE $EVENTS SET request_preview = 'edited' WHERE");
}

sub _as_superuser
{
	my ($table, $statement) = @_;
	my $n = 1 + int rand 20;

	return join ";\n", 'BEGIN', 'SET LOCAL tokenledger.allow_ledger_edits = on',
	  "WITH done AS ($statement event_id IN (SELECT event_id FROM $EVENTS"
	  . " WHERE event_id NOT BETWEEN '00000000-0000-4000-a000-000000000000'"
	  . " AND '00000000-0000-4000-afff-ffffffffffff'"
	  . ' ORDER BY ingest_xid DESC, ingest_seq DESC'
	  . ' OFFSET ' . int(rand() ** 3 * 2000) . " LIMIT $n) RETURNING event_id)"
	  . " INSERT INTO torture.$table SELECT event_id FROM done",
	  "COMMIT;\n";
}

sub _flush
{
	return "SELECT token_ledger.flush(target, '300 ms')"
	  . " FROM token_ledger.status ORDER BY random() LIMIT 1 \\g /dev/null\n";
}

sub _large
{
	my $n = 1000 + int rand 6000;

	return "INSERT INTO $EVENTS (provider, model, total_tokens, cost_usd)"
	  . " SELECT 'provider', 'large', i, i / 3e6 FROM generate_series(1, $n) i;\n";
}

1;
