# Targets in ClickHouse's engine, test/peers/clickhouse: each a table of one
# server, behind a wire of its own.
#
#	zstd, lz4	differ in how they are compressed; "zstd" is reached by TLS, and
#				checks whom it talks to
#	wide		has more lanes than the others
#	picky		refuses some events
#
# Faults come from outside, by signals, and from within: the peer has points at
# which a request is cut, kept waiting, answered with an error, or the last one
# of the process.
package Torture::Targets::ClickHouse;

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Open2;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use lib "$FindBin::RealBin/../t/lib";
use ClickHousePeer;
use Torture::Certificates;
use Torture::Requests;
use Torture::Wire;
use Torture::Writer;

our $START_SECONDS = 120;

# How long a planned kill has for being met.
our $MEET_SECONDS = 3;

my %options = (
	zstd => { compression => 'zstd' },
	lz4 => { compression => 'lz4' },
	wide => { compression => 'none' },
	picky => {});

# dir: for data and log.
sub new
{
	my ($class, %self) = @_;
	my $hindrance = clickhouse_hindrance();

	die "$hindrance\n" if $hindrance;
	return bless { wires => {}, stalled => 0, refused => 0, %self }, $class;
}

sub names { return sort keys %options }

sub wires
{
	my ($self) = @_;

	return map { $self->{wires}{$_} } sort keys %{ $self->{wires} };
}

sub servers { return () }

sub create
{
	my ($self) = @_;
	my $dir = "$self->{dir}/clickhouse";

	mkdir $dir or die "could not create $dir: $!\n";
	$self->{peer} = ClickHousePeer->new(dir => $dir, start => 0);
	$self->{requests} = Torture::Requests->new($self->{peer}, 3);
	$self->_start;
	$self->{certificates} =
	  Torture::Certificates->new("$self->{dir}/clickhouse_tls");
	$self->{wires}{$_} = Torture::Wire->new(
		'127.0.0.1:'
		  . ($self->_has_tls($_) ? $self->_put_tls_before : $self->{peer}->port))
	  foreach $self->names;
	return;
}

sub _has_tls
{
	my ($self, $name) = @_;

	return $self->{certificates} && $name eq 'zstd';
}

# Port of another process, which ends when nobody can write to it any more.
sub _put_tls_before
{
	my ($self) = @_;

	open2(my $out, $self->{front},
		$ENV{TOKENLEDGER_CHDB_PYTHON}, "$FindBin::RealBin/tls_front.py",
		$self->{peer}->port, $self->{certificates}->certificate,
		$self->{certificates}->key);
	return int(<$out> // die "there is no TLS\n");
}

sub prepare
{
	my ($self, $ledger) = @_;

	$ledger->create_schema($_) foreach $self->names;
	$self->{peer}->query('ALTER TABLE picky ADD CONSTRAINT choice'
		  . " CHECK model <> '$Torture::Writer::REFUSED'");
	return;
}

# NB: an INSERT of it costs more than one of PostgreSQL, so batches may be larger.
sub url
{
	my ($self, $name, $lanes) = @_;
	my $rows = int 10 ** (1.5 + rand 2);

	$lanes += 2 if $name eq 'wide' && $lanes <= 3;
	return $self->{peer}->url(
		port => $self->{wires}{$name}->port,
		table => $name,
		ttl => 0,
		lanes => $lanes,
		batch_rows => $rows,
		claim_rows => $rows * (1 + int rand 3),
		connect_timeout => '2s',
		$self->_has_tls($name)
		? (tls => 'on', ca_file => $self->{certificates}->authority)
		: (),
		%{ $options{$name} });
}

# Hands on each row that a target holds, as COPY reads it.
sub rows
{
	my ($self, $name, $take) = @_;
	my $columns = $Torture::Writer::COLUMNS =~
	  s/"timestamp"/concat(toString(timestamp, 'UTC'), '+00')/r;

	$take->("$_\n")
	  foreach split /\n/,
	  $self->{peer}->query("SELECT $columns FROM $name", timeout => 300);
	return;
}

sub faults
{
	my ($self) = @_;
	my @faults = (
		[ 3, 'kill store server', 1, sub { $self->_crash } ],
		[ 7, 'kill store server at a point', 1, sub { $self->_kill_at_point } ],
		[ 3, 'stall store server', 0, sub { $self->_stall } ],
		[ 7, 'drop request', 0, sub { $self->_plan('drop') } ],
		[ 4, 'let request hang', 0, sub { $self->_plan('hang') } ],
		[ 4, 'slow down request', 0, sub { $self->_plan('slow_down') } ],
		[ 4, 'early error', 0, sub { $self->_plan('fail_early') } ],
		[ 5, 'error of uncertain effect', 0, sub { $self->_plan('fail') } ],
		[ 4, 'answer of a proxy', 0, sub { $self->_plan('answer_foreign') } ],
		[ 2, 'wrong count', 0, sub { $self->_plan('miscount') } ],
		[ 1, 'refuse batch', 0, sub { $self->_refuse } ],
		[ 3, 'wrong certificate', 0, sub { $self->_pretend } ]);

	push @faults,
	  [ 2, 'kill store server at rename', 1, sub { $self->_kill_at_rename } ]
	  unless strace_hindrance();
	return @faults;
}

sub _start
{
	my ($self, %how) = @_;

	$self->{peer}->start(timeout => $START_SECONDS, %how);
	return;
}

sub _crash
{
	my ($self) = @_;

	$self->{stalled} = 0;
	$self->{peer}->kill9;
	$self->_start;
	return 1;
}

# As if the part were lost whose token is remembered.
sub _kill_at_rename
{
	my ($self) = @_;

	$self->{stalled} = 0;
	$self->{peer}->kill9;
	eval { $self->_start(break_rename => 'kill'); 1 } or return $self->_crash;
	$self->{peer}->await_end($MEET_SECONDS);
	return $self->_crash;
}

sub _kill_at_point
{
	my ($self) = @_;

	$self->_plan('kill') or return 0;
	my $met = $self->{peer}->await_end($MEET_SECONDS);

	$self->relent;
	return $met;
}

# false: nobody can be told.
sub _plan
{
	my ($self, $what) = @_;

	return 0 if $self->{stalled};
	return $self->{requests}->plan($what);
}

# Processes that do not answer, and go on later with what lies in front of them.
sub _stall
{
	my ($self) = @_;

	return 0 unless $self->{peer}->running;
	$self->{stalled} = 1;
	return kill 'STOP', -$self->{peer}{pid};
}

# NB: a store that refuses an event over and over, and others not, is believed.
# So this happens to a batch once in a while only.
sub _refuse
{
	my ($self) = @_;

	return 0 if time - $self->{refused} < 10;
	$self->{refused} = time;
	return $self->_plan('refuse');
}

# Connections that are there are not asked again, so they end.
sub _pretend
{
	my ($self) = @_;
	my $certificates = $self->{certificates} or return 0;

	$certificates->show_wrong;
	$self->{wires}{zstd}->order($_) foreach qw(refuse open);
	return 1;
}

# Undoes what lasts.
sub relent
{
	my ($self) = @_;
	my $peer = $self->{peer};

	kill 'CONT', -$peer->{pid} if $self->{stalled} && $peer->{pid};
	$self->{stalled} = 0;
	$self->{certificates}->show('right') if $self->{certificates};
	$self->_start unless $peer->running;
	eval { $peer->clear_faults; 1 } or $self->_crash;
	return;
}

sub await
{
	my ($self) = @_;
	my $deadline = time + $START_SECONDS;

	return if $self->{stalled};
	until ($self->{peer}->request('GET', '/ping', timeout => 5)->{success})
	{
		die "the store does not come back\n" if time > $deadline;
		$self->_start unless $self->{peer}->running;
		usleep(20_000);		# sleep-ok: interval of a poll with a deadline
	}
	return;
}

sub abandon
{
	my ($self) = @_;

	$self->{peer}->kill9 if $self->{peer};
	delete $self->{front};
	return;
}

1;
