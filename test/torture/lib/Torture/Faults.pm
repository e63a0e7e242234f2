# What is done to the ledger's processes, its wires, its disk and its settings,
# drawn by lot, together with what Torture/Targets does to the stores and what
# Torture/Operations does in the ledger.
package Torture::Faults;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time usleep);	# sleep-ok: for the moments between faults

use Torture::Operations;
use Torture::Writer;

# How long every target has for settling something when all is well again.
our $RECOVER_SECONDS = 120;

# So many of the faults are looked at to their end, before the next one.
our $RESTS = 0.07;

# Weight, name, whether processes are killed by it, and a method, which returns
# whether there was anything to do it to.
my @wire_faults = (
	[ 8, 'cut wire', 0, '_cut_wire' ],
	[ 3, 'refuse connections', 0, '_refuse' ],
	[ 2, 'let wire hang', 0, '_hang' ],
	[ 2, 'slow down wire', 0, '_drip' ]);
my @faults = (
	[ 14, 'kill lane', 1, '_kill_lane' ],
	[ 3, 'kill launcher', 1, '_kill_launcher' ],
	[ 6, 'kill client', 1, '_kill_client' ],
	[ 2, 'kill any process', 1, '_kill_any' ],
	[ 4, 'kill server', 1, '_kill_server' ],
	[ 2, 'immediate restart', 1, '_restart_at_once' ],
	[ 1, 'fast restart', 0, '_restart_fast' ],
	[ 14, 'end lane', 0, '_end_lane' ],
	[ 1, 'end launcher', 0, '_end_launcher' ],
	[ 4, 'change settings', 0, '_change_settings' ],
	[ 2, 'reload storm', 0, '_storm' ],
	[ 1, 'too few workers', 0, '_want_many_lanes' ],
	[ 2, 'fill disk', 0, '_fill_disk' ],
	@wire_faults);

# outside: nothing happens to the ledger itself.
sub new
{
	my ($class, $ledger, %how) = @_;
	my $self = bless {
		ledger => $ledger,
		rests => $how{outside} ? 0 : $RESTS,
		kills => 0,
		count => {},
		worst => [ 0, 'nothing' ],
		recoveries => 0,
		wrong => []
	}, $class;

	$self->{faults} = [
		(map { $self->_own($_) } $how{outside} ? @wire_faults : @faults),
		(map { $_->faults } $ledger->stores),
		$how{outside} ? () : Torture::Operations::of($ledger)
	];
	return $self;
}

sub _own
{
	my ($self, $fault) = @_;
	my ($weight, $name, $kills, $method) = @$fault;

	return [ $weight, $name, $kills, sub { $self->$method } ];
}

# Until so many processes were killed, or the time is over (0: never) and at
# least so many were.
sub cause
{
	my ($self, $kills, $seconds, $least) = @_;
	my $first = time;
	my $n = 0;

	while ($self->{kills} < $kills
		&& (!$seconds || $self->{kills} < ($least // 0)
			|| time - $first < $seconds))
	{
		my (undef, $name, $killing, $do) = @{ $self->_draw };
		my $begun = time;
		my $done = $do->();

		$self->{count}{$name}++ if $done;
		$self->{kills}++ if $done && $killing;
		if ($done && rand() < $self->{rests})
		{
			$self->recover($name, $killing ? $begun : time);
		}
		else
		{
			$self->_pass_time($done && $killing);
		}
		$self->_check_identity if ++$n % 10 == 0;
	}
	return;
}

# Everything is made well, and the time is taken from the fault, or where it
# lasts from its end, until every target has settled a batch.
sub recover
{
	my ($self, $name, $begun) = @_;
	my $server = $self->{ledger}{server};

	$self->_make_well;
	my %before = $self->_forwarded;
	my @late = keys %before;

	$self->{recoveries}++;
	until (@late == 0)
	{
		$server->query('app', "INSERT INTO $Torture::Writer::EVENTS"
			  . " (provider, model) VALUES ('provider', 'well')");
		my %now = $self->_forwarded;

		@late = grep { ($now{$_} // 0) <= $before{$_} } @late;
		last if time - $begun > $RECOVER_SECONDS;
	}
	push @{ $self->{wrong} },
	  "$RECOVER_SECONDS s after \"$name\" these had settled nothing: @late"
	  if @late;
	$self->{worst} = [ time - $begun, $name ]
	  if time - $begun > $self->{worst}[0];
	return;
}

sub _make_well
{
	my ($self) = @_;

	$self->{ledger}->relent;
	$self->{ledger}->await;
	$self->_change_settings;
	Torture::Operations::undo($self->{ledger});
	return;
}

sub _forwarded
{
	my ($self) = @_;
	my $counts = $self->{ledger}{server}->query('app',
		'SELECT target, forwarded FROM token_ledger.status');

	return map { split /\|/ } split /\n/, $counts // '';
}

# Undoes what would keep the lanes from catching up.
sub end
{
	my ($self) = @_;
	my $server = $self->{ledger}{server};

	$self->_make_well;
	foreach my $name (split /\n/,
		$server->query('app', 'SELECT gid FROM pg_prepared_xacts') // '')
	{
		my $how = rand() < 0.5 ? 'COMMIT' : 'ROLLBACK';

		$server->query('app', "$how PREPARED '$name'");
	}
	return;
}

sub summary
{
	my ($self) = @_;
	my $count = $self->{count};

	return join ', ', "$self->{kills} kills",
	  map { "$_: $count->{$_}" } sort keys %$count;
}

sub kills { my ($self) = @_; return $self->{kills} }

# Also those that kill nobody.
sub total
{
	my ($self) = @_;
	my $total = 0;

	$total += $_ foreach values %{ $self->{count} };
	return $total;
}

# What was wrong while faults were caused.
sub wrong
{
	my ($self) = @_;

	return @{ $self->{wrong} };
}

# The longest recovery in seconds, and from what; and how many there were.
sub worst { my ($self) = @_; return @{ $self->{worst} } }

sub recoveries { my ($self) = @_; return $self->{recoveries} }

# How often each was done, by name.
sub counts { my ($self) = @_; return %{ $self->{count} } }

sub _draw
{
	my ($self) = @_;
	my $lot = 0;

	$lot += $_->[0] foreach @{ $self->{faults} };
	$lot = rand $lot;
	foreach my $fault (@{ $self->{faults} })
	{
		return $fault if ($lot -= $fault->[0]) < 0;
	}
	return $self->{faults}[0];
}

# Mostly long enough for the lanes to work, now and then not even for the
# server to come back.
sub _pass_time
{
	my ($self, $killed) = @_;

	$self->{ledger}->await if $killed && rand() < 0.9;
	usleep(1000 * int(rand() ** 2 * 800));	# sleep-ok: the moment of a fault
	$self->{ledger}->relent if rand() < 0.4;
	return;
}

sub _kill_lane
{
	my ($self) = @_;

	return $self->{ledger}{server}->signal('KILL', qr/^tokenledger lane/);
}

sub _end_lane
{
	my ($self) = @_;

	return $self->{ledger}{server}->signal('TERM', qr/^tokenledger lane/);
}

sub _kill_launcher
{
	my ($self) = @_;

	return $self->{ledger}{server}->signal('KILL', qr/^tokenledger launcher/);
}

sub _end_launcher
{
	my ($self) = @_;

	return $self->{ledger}{server}->signal('TERM', qr/^tokenledger launcher/);
}

sub _kill_client
{
	my ($self) = @_;

	return $self->{ledger}{server}->signal('KILL', qr/^torture app/);
}

sub _kill_any
{
	my ($self) = @_;

	return $self->{ledger}{server}->signal('KILL', qr/./);
}

sub _kill_server
{
	my ($self) = @_;

	$self->{ledger}{server}->crash;
	return 1;
}

sub _restart_at_once
{
	my ($self) = @_;

	$self->{ledger}{server}->restart('immediate');
	return 1;
}

# NB: PostgreSQL hangs if it is asked for a fast shutdown while it recovers from
# a crash (seen in 15, also without this extension).
sub _restart_fast
{
	my ($self) = @_;

	$self->{ledger}{server}->await;
	$self->{ledger}{server}->restart('fast');
	return 1;
}

# Somewhere in what passes next, in either direction: mostly early, as most
# answers are short.
sub _cut_wire
{
	my ($self) = @_;

	return $self->_order(sprintf 'cut %s %d',
		rand() < 0.5 ? 'up' : 'down', 10 ** (rand() * 4.5));
}

# NB: a server cannot recover from a crash where there is no room for what it has
# to write again, so nothing else happens meanwhile.
sub _fill_disk
{
	my ($self) = @_;
	my $ledger = $self->{ledger};

	$ledger->await;
	return 0 unless $ledger->fill_disk;
	usleep(1000 * int(200 + rand 2000));	# sleep-ok: how long it stays full
	$ledger->empty_disk;
	return 1;
}

sub _refuse { my ($self) = @_; return $self->_order('refuse') }

sub _hang { my ($self) = @_; return $self->_order('hang') }

sub _drip { my ($self) = @_; return $self->_order('drip') }

sub _order
{
	my ($self, $order) = @_;
	my @wires = $self->{ledger}->wires;

	$wires[ rand @wires ]->order($order);
	return 1;
}

sub _want_many_lanes
{
	my ($self) = @_;

	return $self->_change_settings(12);
}

sub _change_settings
{
	my ($self, $lanes) = @_;
	my $server = $self->{ledger}{server};

	$server->configure('torture.conf', $self->{ledger}->settings($lanes), '>');
	$server->reload;
	return 1;
}

sub _storm
{
	my ($self) = @_;

	foreach (1 .. 20 + rand 80)
	{
		$self->_change_settings if rand() < 0.2;
		$self->{ledger}{server}->reload;
		usleep(int rand 20_000);	# sleep-ok: the storm's pace
	}
	return 1;
}

# It holds at any moment.
sub _check_identity
{
	my ($self) = @_;
	my $found = $self->{ledger}{server}->query('app',
		'SELECT * FROM token_ledger.accounting WHERE difference <> 0');

	push @{ $self->{wrong} }, "the identity did not hold: $found"
	  if defined $found && $found ne '';
	return;
}

1;
