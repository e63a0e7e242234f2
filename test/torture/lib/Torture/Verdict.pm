# What has become of the events: the stores' rows are copied beside the ledger,
# and audit.sql compares them.
package Torture::Verdict;

use strict;
use warnings FATAL => 'all';

use FindBin;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use Torture::Writer;

our $SHOWN = 10;

sub new
{
	my ($class, $ledger, $faults) = @_;

	return bless {
		ledger => $ledger,
		wrong => [ $faults->wrong ],
		count => {},
		events => 0,
		retired => 0,
		seconds => 0
	}, $class;
}

# Prints what is wrong, and returns whether nothing was.
sub reach
{
	my ($self, $seconds) = @_;

	if ($self->_await_empty_queue($seconds))
	{
		$self->_audit;
		$self->{retired} = $self->_must('SELECT count(*) FROM audit.retired');
		$self->{events} =
		  $self->_must("SELECT count(*) FROM $Torture::Writer::EVENTS") +
		  $self->{retired};
	}
	$self->_check_log($_) foreach $self->{ledger}->servers;
	print "WRONG: $_\n" foreach @{ $self->{wrong} };
	return !@{ $self->{wrong} };
}

# For the report: what was committed, and what retention has deleted of it.
sub events { my ($self) = @_; return $self->{events} }

sub retired { my ($self) = @_; return $self->{retired} }

sub seconds { my ($self) = @_; return $self->{seconds} }

sub count
{
	my ($self, $what) = @_;

	return $self->{count}{$what} // 0;
}

# All other findings, and those of the logs.
sub others
{
	my ($self) = @_;

	return @{ $self->{wrong} }
	  - grep { $self->{count}{$_} } qw(lost doubled);
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
	my $server = $self->{ledger}{server};

	return $server->query('app', $sql);
}

# As long as it takes; false: a target with events before it has settled nothing
# for so many seconds.  NB: what a store has refused is given up when it has
# accepted something else and refused it again.
sub _await_empty_queue
{
	my ($self, $seconds) = @_;
	my $begun = time;
	my $inserted = $begun;
	my %seen = map { $_ => [ '', $begun ] } $self->{ledger}->targets;

	for (;;)
	{
		my %status = map { split /\|/, $_, 2 } split /\n/, $self->_query(
			'SELECT target, lag_events = 0 AND jobs = 0, forwarded, dead'
			  . ' FROM token_ledger.status') // '';
		my @late = grep { ($status{$_} // '') !~ /^t/ } keys %seen;

		$self->{seconds} = time - $begun;
		return 1 unless @late;
		foreach my $target (@late)
		{
			my $now = $status{$target} // '';

			$seen{$target} = [ $now, time ] if $now ne $seen{$target}[0];
			return $self->_stuck($target, $seconds)
			  if time - $seen{$target}[1] > $seconds;
		}
		if (time - $inserted > 2)
		{
			$self->_query("INSERT INTO $Torture::Writer::EVENTS"
				  . " (provider, model) VALUES ('provider', 'last')");
			$inserted = time;
		}
		usleep(100_000);	# sleep-ok: interval of a poll with a deadline
	}
	return;
}

sub _stuck
{
	my ($self, $target, $seconds) = @_;

	$self->_wrong("target $target has settled nothing for $seconds s:\n"
		  . ($self->_query('SELECT * FROM token_ledger.status') // 'no status')
		  . "\n"
		  . ($self->_query('TABLE token_ledger.lane') // ''));
	return 0;
}

# NB: the ledger's disk is a small one; what its audit needs is not on it.
sub _audit
{
	my ($self) = @_;
	my $server = $self->{ledger}{server};

	$self->_must(<<EOQ);
CREATE SCHEMA audit;
CREATE TABLE audit.arrived TABLESPACE pg_default AS
SELECT ''::text AS target, $Torture::Writer::COLUMNS
FROM $Torture::Writer::EVENTS WHERE false
EOQ
	$self->_copy_rows($_) foreach $self->{ledger}->targets;
	system($server->psql('app', '-v', 'ON_ERROR_STOP=1', '-f',
			"$FindBin::RealBin/audit.sql")) == 0
	  or die "audit.sql failed; see psql.log\n";
	$self->_must('ANALYZE audit.arrived');
	my $findings = $self->_must(<<EOQ);
SELECT target, what, count(*),
	array_to_string((array_agg(which ORDER BY which))[1:$SHOWN], ' ')
FROM audit.finding GROUP BY target, what ORDER BY target, what
EOQ

	foreach (split /\n/, $findings)
	{
		my ($target, $what, $n, $which) = split /\|/, $_, 4;

		$self->{count}{$what} += $n;
		$self->_wrong("target $target: $n $what: $which");
	}
	return;
}

sub _must
{
	my ($self, $sql) = @_;

	return $self->_query($sql) // die "failed: $sql; see psql.log\n";
}

sub _copy_rows
{
	my ($self, $target) = @_;
	my $server = $self->{ledger}{server};

	open my $to, '|-', $server->psql('app', '-c', 'COPY audit.arrived FROM STDIN')
	  or die "psql: $!\n";
	$self->{ledger}->store($target)->rows($target,
		sub { print $to "$target\t$_[0]" });
	close $to or die "could not copy the rows of $target\n";
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
