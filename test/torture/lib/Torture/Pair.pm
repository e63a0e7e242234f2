# A ledger with a standby, which takes over again and again.
#
# The tail of what was committed on a primary may not have reached the standby
# that is promoted.  The ledger has lost it, and some of it may be in the stores:
# the dead primary's data directory tells what it was.  Everything else has to be
# as if nothing had happened.  With a synchronous standby nothing may be in the
# stores that the ledger has lost.
package Torture::Pair;

use strict;
use warnings FATAL => 'all';

use parent 'Torture::Ledger';

use File::Temp;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use Torture::Server;
use Torture::Writer;

our $CATCH_UP_SECONDS = 120;

# As of a ledger.  {server} is who is primary now; for clients, who know a place
# only, there is {front}.
sub new
{
	my ($class, %self) = @_;
	my $self = $class->SUPER::new(%self, apart => 1);

	$self->{wrong} = [];
	$self->{former} = [];
	$self->{front_dir} = File::Temp->newdir('tl-XXXXXX', TMPDIR => 1);
	$self->{front} = Torture::Server->new(
		name => 'front',
		dir => $self->{dir});
	$self->{front}{socket} = "$self->{front_dir}/now";
	return $self;
}

# For Torture::Verdict.
sub wrong { my ($self) = @_; return @{ $self->{wrong} } }

sub servers
{
	my ($self) = @_;

	return ($self->SUPER::servers, @{ $self->{former} });
}

# What a writer has to know.
sub for_writers
{
	my ($self) = @_;

	return { server => $self->{front}, seed => $self->{seed} };
}

sub prepare
{
	my ($self) = @_;

	$self->SUPER::prepare;
	$self->_point_clients;
	return;
}

sub _point_clients
{
	my ($self) = @_;
	my $place = $self->{front}{socket};

	symlink "$self->{server}{socket}", "$place.new" or die "$place.new: $!\n";
	rename "$place.new", $place or die "$place: $!\n";
	return;
}

# NB: a primary whose standby is synchronous is started anew, so that no lane
# works with the setting of before.
sub add_standby
{
	my ($self, $synchronous) = @_;
	my $server = $self->{server};
	my $standby = Torture::Server->new(
		name => 'ledger' . (1 + ++$self->{standbys}),
		dir => $self->{dir});

	$standby->clone($server);
	$standby->start;
	$self->{standby} = $standby;
	$self->{synchronous} = $synchronous;
	if ($synchronous)
	{
		$server->configure('postgresql.conf',
			"synchronous_standby_names = '*'\n");
		$server->restart('immediate');
	}
	$self->_await_standby;
	return;
}

# Everything that was committed before is there.
sub _await_standby
{
	my ($self) = @_;
	my $deadline = time + $CATCH_UP_SECONDS;
	my $position = $self->{server}->must('app', 'SELECT pg_current_wal_lsn()');
	my $state = $self->{synchronous} ? 'sync' : 'async';

	until (($self->{server}->query('app',
				'SELECT count(*) FROM pg_stat_replication'
				  . " WHERE state = 'streaming' AND sync_state = '$state'"
				  . " AND flush_lsn >= '$position'") // 0) > 0)
	{
		die "the standby does not catch up\n" if time > $deadline;
		usleep(50_000);		# sleep-ok: interval of a poll with a deadline
	}
	return;
}

# The standby hears nothing from now on.
sub cut_off
{
	my ($self) = @_;
	my $sender = $self->{server}->query('app',
		q(SELECT pid FROM pg_stat_replication WHERE application_name =
			'walreceiver'));

	return $sender ? kill('STOP', $sender) : 0;
}

# The primary dies, and the standby takes over.  Returns how many events the
# ledger has lost.
sub fail_over
{
	my ($self) = @_;
	my $dead = $self->{server};

	$dead->kill_all;
	$self->{standby}->promote;
	$self->{server} = delete $self->{standby};
	$self->{server}->await;
	push @{ $self->{former} }, $dead;
	my $lost = $self->_note_lost($dead);

	$self->{server}->configure('postgresql.conf',
		"synchronous_standby_names = ''\n");
	$self->{server}->reload;
	$self->_point_clients;
	return $lost;
}

# NB: before clients insert on the new primary, as they may insert the same ids.
# The dead server is asked without the library that has the lanes.
sub _note_lost
{
	my ($self, $dead) = @_;
	my $ever = "SELECT event_id FROM $Torture::Writer::EVENTS"
	  . ' UNION SELECT event_id FROM torture.deleted';
	my $edited = 'SELECT event_id FROM torture.edited';
	my %there = map { $_ => 1 } split /\n/, $self->{server}->must('app', $ever);

	$dead->configure('postgresql.conf', "shared_preload_libraries = ''\n"
		  . "synchronous_standby_names = ''\n");
	$dead->start;
	my @lost = grep { !$there{$_} } split /\n/, $dead->must('app', $ever);

	push @{ $self->{edited} }, split /\n/, $dead->must('app', $edited);
	$dead->stop('immediate');
	push @{ $self->{lost} }, map { [ $_, $self->{synchronous} ] } @lost;
	return scalar @lost;
}

# Tells the audit, when nothing takes anything back any more.
sub tell_lost
{
	my ($self) = @_;

	$self->_fill('lost', map { "$_->[0]\t" . ($_->[1] ? 't' : 'f') }
		  @{ $self->{lost} // [] });
	$self->_fill('edited', @{ $self->{edited} // [] });
	return;
}

sub _fill
{
	my ($self, $table, @lines) = @_;

	open my $to, '|-', $self->{server}->psql('app', '-c',
		"COPY torture.$table FROM STDIN") or die "psql: $!\n";
	print $to "$_\n" foreach @lines;
	close $to or die "could not fill torture.$table\n";
	return;
}

# Of what the ledger has lost, how many are in a store?  After the audit.
sub surplus
{
	my ($self) = @_;

	return $self->{server}->must('app', <<EOQ);
SELECT count(DISTINCT event_id) FROM audit.arrived
WHERE event_id IN (SELECT event_id FROM torture.lost)
	AND event_id NOT IN (SELECT event_id FROM $Torture::Writer::EVENTS)
EOQ
}

sub abandon
{
	my ($self) = @_;

	foreach my $server (grep { defined } $self->{standby})
	{
		$server->stop('immediate') if $server->postmaster;
	}
	return $self->SUPER::abandon;
}

1;
