# Targets in a double of a store, each a table of one process, behind a wire of
# its own: what Torture::Targets::Snowflake and Torture::Targets::BigQuery share.
#
# Faults come from outside, by signals, and from within: the double has points at
# which a request is cut, kept waiting, answered with an error, or the last one of
# the process.
package Torture::Targets::Double;

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Open2;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use lib "$FindBin::RealBin/../t/lib";
use Torture::Certificates;
use Torture::Wire;
use Torture::Writer;

our $START_SECONDS = 120;

# How long a planned kill has for being met.
our $MEET_SECONDS = 3;

# What a kind of double has to say besides:
#
#	make_peer		a peer, not started, and its Torture::...Requests
#	upstream		where a target's wire leads to
#	behind_tls		the target that is reached by TLS; none: undef
#	address			options of the URL that say where a target's wire is
#	modes			of each target, its mode
#	kinds			what its requests can do wrong in a mode

# dir: for data and log.
sub new
{
	my ($class, %self) = @_;

	return bless { wires => {}, stalled => 0, refused => 0, %self }, $class;
}

sub names { my ($self) = @_; my %modes = $self->modes; return sort keys %modes }

sub wires
{
	my ($self) = @_;

	return map { $self->{wires}{$_} } sort keys %{ $self->{wires} };
}

sub servers { return () }

sub create
{
	my ($self) = @_;

	mkdir "$self->{dir}/double" or die "$self->{dir}/double: $!\n";
	@{$self}{qw(peer requests)} = $self->make_peer("$self->{dir}/double");
	$self->_start;
	$self->{certificates} =
	  Torture::Certificates->new("$self->{dir}/double_tls")
	  if defined $self->behind_tls;
	$self->{wires}{$_} =
	  Torture::Wire->new('127.0.0.1:'
		  . ($self->has_tls($_)
			? $self->_put_tls_before($self->upstream($_))
			: $self->upstream($_)))
	  foreach $self->names;
	return;
}

sub has_tls
{
	my ($self, $name) = @_;

	return $self->{certificates} && $name eq $self->behind_tls;
}

# Port of another process, which ends when nobody can write to it any more.
sub _put_tls_before
{
	my ($self, $port) = @_;

	open2(my $out, $self->{front},
		'python3', "$FindBin::RealBin/tls_front.py",
		$port, $self->{certificates}->certificate,
		$self->{certificates}->key);
	return int(<$out> // die "there is no TLS\n");
}

sub prepare
{
	my ($self, $ledger) = @_;

	$self->{server} = $ledger->{server};
	$ledger->create_schema($_) foreach $self->names;
	return;
}

sub url
{
	my ($self, $name, $lanes) = @_;
	my %modes = $self->modes;
	my $rows = int 10 ** (1.5 + rand);

	$lanes += 2 if $name eq 'wide' && $lanes <= 3;
	return $self->{peer}->url(
		$self->address($name, $self->{wires}{$name}->port),
		table => $name,
		mode => $modes{$name},
		lanes => $lanes,
		batch_rows => $rows,
		claim_rows => $rows * (1 + int rand 3),
		connect_timeout => '2s',
		$self->has_tls($name)
		? (ca_file => $self->{certificates}->authority)
		: ());
}

# Hands on each row that a target holds, as COPY reads it.  NB: read as JSON by the
# ledger's server, as Perl would take long.
sub rows
{
	my ($self, $name, $take) = @_;
	my $file = "$self->{dir}/$name.json";

	open my $out, '>:raw', $file or die "$file: $!\n";
	print {$out} $self->{peer}->rows_text($name) =~ s/\\/\\\\/gr;
	close $out or die "$file: $!\n";
	open my $from, '-|', $self->{server}->psql('app',
		'-c', 'CREATE TEMP TABLE answer (a jsonb)',
		'-c', "\\copy answer FROM '$file'",
		'-c', "COPY (SELECT $Torture::Writer::COLUMNS FROM answer,"
		  . " jsonb_populate_recordset(NULL::$Torture::Writer::EVENTS, a))"
		  . ' TO STDOUT')
	  or die "psql: $!\n";
	$take->($_) while <$from>;
	close $from or die "could not read the store of $name\n";
	return;
}

sub faults
{
	my ($self) = @_;
	my %modes = $self->modes;
	my %kinds = map { $_ => 1 } map { $self->kinds($_) } values %modes;

	delete $kinds{kill};
	return (
		[ 3, 'kill store server', 1, sub { $self->_crash } ],
		[ 7, 'kill store server at a point', 1, sub { $self->_kill_at_point } ],
		[ 3, 'stall store server', 0, sub { $self->_stall } ],
		defined $self->behind_tls
		? [ 3, 'wrong certificate', 0, sub { $self->_pretend } ]
		: (),
		map
		{
			my $kind = $_;

			[ $kind eq 'refuse' ? 1 : 4, "request: $kind" =~ tr/_/ /r, 0,
				sub { $self->_plan($kind) } ]
		} sort keys %kinds);
}

sub _start
{
	my ($self) = @_;

	$self->{peer}->start;
	$self->{peer}->poison_table('picky', $Torture::Writer::REFUSED);
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

sub _kill_at_point
{
	my ($self) = @_;

	$self->_plan('kill') or return 0;
	my $met = $self->{peer}->await_end($MEET_SECONDS);

	$self->relent;
	return $met;
}

# To one of the targets that know of such a thing.  NB: a store that refuses an
# event over and over, and others not, is believed, so that happens to a batch
# once in a while only.  false: nobody can be told.
sub _plan
{
	my ($self, $what) = @_;
	my %modes = $self->modes;
	my @names = grep
	{
		my $name = $_;
		grep { $_ eq $what } $self->kinds($modes{$name})
	} sort keys %modes;
	my $name = $names[ rand @names ];

	return 0 if $self->{stalled};
	if ($what eq 'refuse')
	{
		return 0 if time - $self->{refused} < 10;
		$self->{refused} = time;
	}
	return $self->{requests}->plan($what, $modes{$name}, $name);
}

# Processes that do not answer, and go on later with what lies in front of them.
sub _stall
{
	my ($self) = @_;

	return 0 unless $self->{peer}->running;
	$self->{stalled} = 1;
	return kill 'STOP', -$self->{peer}{pid};
}

# Connections that are there are not asked again, so they end.
sub _pretend
{
	my ($self) = @_;

	$self->{certificates} or return 0;
	$self->{certificates}->show_wrong;
	$self->{wires}{ $self->behind_tls }->order($_) foreach qw(refuse open);
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
	$self->{requests}->relent or $self->_crash;
	return;
}

sub await
{
	my ($self) = @_;
	my $deadline = time + $START_SECONDS;

	return if $self->{stalled};
	until (eval { $self->{peer}->faults; 1 })
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
