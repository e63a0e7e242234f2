# What is done to the processes, drawn by lot.
package Torture::Faults;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time usleep);	# sleep-ok: for the moments between faults

# Weight, name, and whether processes are killed by it.
my @faults = (
	[ 14, 'kill lane', 1 ],
	[ 3, 'kill launcher', 1 ],
	[ 6, 'kill client', 1 ],
	[ 2, 'kill any process', 1 ],
	[ 4, 'kill server', 1 ],
	[ 2, 'immediate restart', 1 ],
	[ 1, 'fast restart', 0 ],
	[ 14, 'end lane', 0 ],
	[ 1, 'end launcher', 0 ],
	[ 10, 'end store session', 0 ],
	[ 7, 'kill store session', 1 ],
	[ 3, 'kill store server', 1 ],
	[ 4, 'stall store session', 0 ],
	[ 4, 'change settings', 0 ],
	[ 2, 'reload storm', 0 ],
	[ 1, 'too few workers', 0 ],
	[ 2, 'fill disk', 0 ],
	[ 8, 'cut wire', 0 ],
	[ 3, 'refuse connections', 0 ],
	[ 2, 'let wire hang', 0 ],
	[ 2, 'slow down wire', 0 ],
	[ 3, 'pause', 0 ]);

sub new
{
	my ($class, $ledger) = @_;

	return bless {
		ledger => $ledger,
		kills => 0,
		count => {},
		stalled => [],
		wrong => [],
		begun => time
	}, $class;
}

# Until so many processes were killed, or the time is over (0: never).
sub cause
{
	my ($self, $kills, $seconds) = @_;
	my $n = 0;

	while ($self->{kills} < $kills
		&& (!$seconds || time - $self->{begun} < $seconds))
	{
		my $fault = _draw();
		my $done = $self->_cause_one($fault->[1]);

		$self->{count}{ $fault->[1] }++ if $done;
		$self->{kills}++ if $done && $fault->[2];
		$self->_pass_time($done && $fault->[2]);
		$self->_check_identity if ++$n % 10 == 0;
	}
	return;
}

# Undoes what would keep the lanes from catching up.
sub end
{
	my ($self) = @_;
	my $server = $self->{ledger}{server};

	$self->_relent;
	$server->configure('torture.conf', $self->{ledger}->settings, '>');
	$_->await foreach $self->{ledger}->servers;
	$server->reload;
	$server->query('app', "SELECT token_ledger.resume('$_')")
	  foreach $self->{ledger}->targets;
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

sub _draw
{
	my $lot = 0;

	$lot += $_->[0] foreach @faults;
	$lot = rand $lot;
	foreach my $fault (@faults)
	{
		return $fault if ($lot -= $fault->[0]) < 0;
	}
	return $faults[0];
}

# Mostly long enough for the lanes to work, now and then not even for the
# server to come back.
sub _pass_time
{
	my ($self, $killed) = @_;

	if ($killed && rand() < 0.9)
	{
		$_->await foreach $self->{ledger}->servers;
	}
	usleep(1000 * int(rand() ** 2 * 800));	# sleep-ok: the moment of a fault
	$self->_relent if rand() < 0.4;
	return;
}

# Returns whether there was anything to do it to.
sub _cause_one
{
	my ($self, $what) = @_;
	my ($server, $remote) = $self->{ledger}->servers;
	my %do = (
		'kill lane' => sub { _signal($server, 'KILL', qr/^tokenledger lane/) },
		'end lane' => sub { _signal($server, 'TERM', qr/^tokenledger lane/) },
		'kill launcher' =>
		  sub { _signal($server, 'KILL', qr/^tokenledger launcher/) },
		'end launcher' =>
		  sub { _signal($server, 'TERM', qr/^tokenledger launcher/) },
		'kill client' => sub { _signal($server, 'KILL', qr/^torture app/) },
		'kill any process' => sub { _signal($server, 'KILL', qr/./) },
		'kill server' => sub { _kill_server($server) },
		'immediate restart' => sub { $server->restart('immediate'); 1 },
		'fast restart' => sub { _restart_fast($server) },
		'end store session' => sub { _signal(_one_of($server, $remote),
				'TERM', qr/^torture (same|other|bare|picky) /) },
		'kill store session' =>
		  sub { _signal($remote, 'KILL', qr/^torture (other|bare|picky) /) },
		'kill store server' => sub { _kill_server($remote) },
		'stall store session' => sub { $self->_stall($remote) },
		'change settings' => sub { $self->_change_settings },
		'reload storm' => sub { $self->_storm },
		'too few workers' => sub { $self->_change_settings(12) },
		'fill disk' => sub { $self->_fill_disk },
		'cut wire' => sub { $self->_cut_wire },
		'refuse connections' => sub { $self->_order('refuse') },
		'let wire hang' => sub { $self->_order('hang') },
		'slow down wire' => sub { $self->_order('drip') },
		'pause' => sub { $self->_pause });

	return $do{$what}->();
}

sub _one_of
{
	return $_[ rand @_ ];
}

sub _signal
{
	my ($server, $signal, $pattern) = @_;
	my @found = map { $_->[0] }
	  grep { $_->[1] =~ $pattern } $server->processes;

	return 0 unless @found;
	return kill $signal, _one_of(@found);
}

# NB: PostgreSQL hangs if it is asked for a fast shutdown while it recovers from
# a crash (seen in 15, also without this extension).
sub _restart_fast
{
	my ($server) = @_;

	$server->await;
	$server->restart('fast');
	return 1;
}

sub _kill_server
{
	my ($server) = @_;

	$server->kill_all;
	$server->start;
	return 1;
}

# A session that does not answer, and goes on later: its transaction may land
# after the lane has given it up.
sub _stall
{
	my ($self, $remote) = @_;
	my @found = map { $_->[0] }
	  grep { $_->[1] =~ /^torture (other|bare|picky) / } $remote->processes;

	return 0 unless @found;
	my $pid = _one_of(@found);

	push @{ $self->{stalled} }, $pid;
	return kill 'STOP', $pid;
}

# Who was stalled goes on, and the wires pass everything.
sub _relent
{
	my ($self) = @_;

	kill 'CONT', $_ foreach splice @{ $self->{stalled} };
	$_->order('open') foreach $self->{ledger}->wires;
	return;
}

# Somewhere in what passes next, in either direction: mostly early, as most
# answers are short.
sub _cut_wire
{
	my ($self) = @_;

	return $self->_order(sprintf 'cut %s %d',
		_one_of('up', 'down'), 10 ** (rand() * 4.5));
}

# NB: a server cannot recover from a crash where there is no room for what it has
# to write again, so nothing else happens meanwhile.
sub _fill_disk
{
	my ($self) = @_;
	my $ledger = $self->{ledger};

	$_->await foreach $ledger->servers;
	return 0 unless $ledger->fill_disk;
	usleep(1000 * int(200 + rand 2000));	# sleep-ok: how long it stays full
	$ledger->empty_disk;
	return 1;
}

sub _order
{
	my ($self, $order) = @_;

	_one_of($self->{ledger}->wires)->order($order);
	return 1;
}

sub _change_settings
{
	my ($self, $lanes) = @_;
	my ($server) = $self->{ledger}->servers;

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

sub _pause
{
	my ($self) = @_;
	my ($server) = $self->{ledger}->servers;
	my $target = _one_of($self->{ledger}->targets);
	my $what = rand() < 0.4 ? 'pause' : 'resume';

	return defined $server->query('app',
		"SELECT token_ledger.$what('$target')");
}

# It holds at any moment.
sub _check_identity
{
	my ($self) = @_;
	my ($server) = $self->{ledger}->servers;
	my $found = $server->query('app',
		'SELECT * FROM token_ledger.accounting WHERE difference <> 0');

	push @{ $self->{wrong} }, "the identity did not hold: $found"
	  if defined $found && $found ne '';
	return;
}

1;
