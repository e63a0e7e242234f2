# What has become of the events.
package Torture::Verdict;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use Torture::Ledger;
use Torture::Writer;

our $SHOWN = 10;

sub new
{
	my ($class, $ledger, $faults) = @_;

	return bless { ledger => $ledger, wrong => [ $faults->wrong ] }, $class;
}

# Prints it, and returns whether nothing was wrong.
sub reach
{
	my ($self, $seconds) = @_;

	if ($self->_await_empty_queue($seconds))
	{
		my $truth = $self->_truth;

		print "the ledger has ", scalar(keys %$truth), " events\n";
		$self->_compare($_, $truth) foreach $self->{ledger}->targets;
		$self->_check_totals;
	}
	$self->_check_log($_) foreach $self->{ledger}->servers;
	print "WRONG: $_\n" foreach @{ $self->{wrong} };
	print "nothing was lost, nothing doubled\n" unless @{ $self->{wrong} };
	return !@{ $self->{wrong} };
}

sub _wrong
{
	my ($self, $what) = @_;

	push @{ $self->{wrong} }, $what;
	return;
}

sub _query
{
	my ($self, $sql) = @_;
	my ($server) = $self->{ledger}->servers;

	return $server->query('app', $sql);
}

sub _await_empty_queue
{
	my ($self, $seconds) = @_;
	my $deadline = time + $seconds;
	my @targets = $self->{ledger}->targets;

	until (($self->_query('SELECT count(*) FROM token_ledger.status'
				  . ' WHERE lag_events = 0') // 0) == @targets)
	{
		if (time > $deadline)
		{
			$self->_wrong("the lanes have not caught up within $seconds s:\n"
				  . ($self->_query('SELECT * FROM token_ledger.status')
					  // 'no status')
				  . "\n"
				  . ($self->_query('TABLE token_ledger.lane') // ''));
			return 0;
		}
		usleep(100_000);	# sleep-ok: interval of a poll with a deadline
	}
	return 1;
}

# What was committed: values by event id.
sub _truth
{
	my ($self) = @_;
	my ($server) = $self->{ledger}->servers;
	my %truth;

	foreach (_rows($server, 'app', $Torture::Writer::EVENTS))
	{
		my ($id, $values) = split /\|/, $_, 2;

		$truth{$id} = $values;
	}
	return \%truth;
}

sub _rows
{
	my ($server, $database, $table) = @_;
	my $rows = $server->query($database,
		"SET timezone = 'UTC'; SELECT $Torture::Writer::COLUMNS FROM $table");

	return split /\n/, $rows // die "could not read $table of $database\n";
}

sub _compare
{
	my ($self, $target, $truth) = @_;
	my (%seen, @wrong);

	foreach (
		_rows($self->{ledger}->store($target), $Torture::Ledger::TABLE))
	{
		my ($id, $values) = split /\|/, $_, 2;

		push @wrong,
			$seen{$id}++            ? "doubled $id"
		  : !exists $truth->{$id}   ? "not in the ledger: $id"
		  : $truth->{$id} ne $values ? "altered $id"
		  :                            ();
	}
	push @wrong, map { "lost $_" } grep { !$seen{$_} } keys %$truth;
	return unless @wrong;
	@wrong = sort @wrong;
	$self->_wrong("target $target has " . scalar(@wrong) . ' differences: '
		  . join(', ', grep { defined } @wrong[ 0 .. $SHOWN - 1 ]));
	return;
}

sub _check_totals
{
	my ($self) = @_;
	my %must_be_empty = (
		'the identity does not hold' => 'SELECT * FROM'
		  . ' token_ledger.accounting WHERE difference IS DISTINCT FROM 0',
		'dead letters' => 'SELECT * FROM token_ledger.dead_letter');

	while (my ($what, $sql) = each %must_be_empty)
	{
		my $rows = $self->_query($sql) // "failed: $sql";

		$self->_wrong("$what: $rows") if $rows ne '';
	}
	return;
}

# What PostgreSQL says, as an error that it has no code for, when a crash of
# another process meets a session that has just closed its connection: the
# handler of SIGQUIT still wants to tell the client.
my $late_farewell =
  qr/ client backend XX000 LOG: .* send data to client: Bad file descriptor$/;

# A crash that was not caused here, or an error that cannot happen.
sub _check_log
{
	my ($self, $server) = @_;
	my %found;

	open my $log, '<', $server->{log} or die "$server->{log}: $!";
	while (<$log>)
	{
		next
		  unless /PANIC:|TRAP:|terminated by signal (?!9\b)/
		  || / XX\d\d\d (ERROR|FATAL|LOG|WARNING)/
		  || /tokenledger .*\(PID \d+\) exited with exit code (?![01]\b)/
		  || /(WARNING|LOG): .*(leak|still referenced)/;
		next if $_ =~ $late_farewell;
		s/^.*?\[\d+\] //;
		chomp;
		$found{$_}++;
	}
	close $log;
	$self->_wrong("log of server $server->{name}: $_ ($found{$_} times)")
	  foreach sort keys %found;
	return;
}

1;
