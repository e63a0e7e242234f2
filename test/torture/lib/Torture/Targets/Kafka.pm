# Targets in a broker of Apache Kafka, all behind one wire: each a topic.
#
#	exact		transactions; each event once, for whoever reads what is committed
#	exact_wide	the same with more lanes and partitions
#	plain		without transactions: events may be there twice, with one key
#
# Of a topic without transactions each event's first message counts.
package Torture::Targets::Kafka;

use strict;
use warnings FATAL => 'all';

use FindBin;
use JSON::PP ();

use lib "$FindBin::RealBin/../t/lib";
use Torture::Pgxs;
use KafkaPeer;
use Torture::Wire;
use Torture::Writer;

our $START_SECONDS = 120;

my %options = (
	exact => { transactional => 'on', partitions => 3 },
	exact_wide => {
		transactional => 'on',
		partitions => 6,
		partition_by => 'provider'
	},
	plain => { partitions => 2 });

# dir: for data and log.
sub new
{
	my ($class, %self) = @_;
	my $hindrance = kafka_hindrance();

	die "$hindrance\n" if $hindrance;
	return bless { stalled => 0, repeated => 0, %self }, $class;
}

sub names { return sort keys %options }

# NB: the broker says where it is, so there is one wire for all its clients.
sub wires
{
	my ($self) = @_;

	return $self->{wire} ? ($self->{wire}) : ();
}

sub servers { return () }

sub create
{
	my ($self) = @_;

	$self->{peer} = KafkaPeer->new(
		dir => "$self->{dir}/kafka",
		start => 0,
		wire => sub {
			my ($port) = @_;

			$self->{wire} = Torture::Wire->new("127.0.0.1:$port");
			return $self->{wire}->port;
		});
	$self->{peer}->start;
	return;
}

sub prepare
{
	my ($self, $ledger) = @_;

	$self->{ledger} = $ledger;
	$ledger->create_schema($_) foreach $self->names;
	return;
}

sub url
{
	my ($self, $name, $lanes) = @_;
	my $rows = int 10 ** (1.5 + rand 2);

	$lanes += 2 if $name eq 'exact_wide' && $lanes <= 3;
	return $self->{peer}->url($name,
		port => $self->{wire}->port,
		lanes => $lanes,
		batch_rows => $rows,
		claim_rows => $rows * (1 + int rand 3),
		connect_timeout => '2s',
		%{ $options{$name} });
}

# A replay sends what the topic has: a topic is not asked.
sub takes_replays { return 0 }

# Hands on each row that a target holds, as COPY reads it.
sub rows
{
	my ($self, $name, $take) = @_;
	my @columns = map { s/\W//gr } split /,/, $Torture::Writer::COLUMNS;
	my $json = JSON::PP->new->utf8;
	my %seen;

	foreach my $message ($self->{peer}->messages($name))
	{
		my $event = $json->decode($message->{value});
		my $line = join "\t", map { _field($event->{$_}) } @columns;

		if ($seen{ $message->{key} }++ && !$options{$name}{transactional})
		{
			$self->{repeated}++;
			next;
		}
		utf8::encode($line);
		$take->("$line\n");
	}
	return;
}

sub _field
{
	my ($value) = @_;
	my %escape = ("\\" => "\\\\", "\t" => "\\t", "\n" => "\\n", "\r" => "\\r");

	return "\\N" unless defined $value;
	return $value =~ s/([\\\t\n\r])/$escape{$1}/gr;
}

sub faults
{
	my ($self) = @_;

	return (
		[ 2, 'kill store server', 1, sub { $self->_crash } ],
		[ 3, 'stall store server', 0, sub { $self->_stall } ],
		[ 3, 'take transactional id', 0, sub { $self->_fence } ]);
}

sub _crash
{
	my ($self) = @_;

	$self->{stalled} = 0;
	$self->{peer}->kill9;
	$self->{peer}->start;
	return 1;
}

# A process that does not answer, and goes on later with what lies in front of it.
sub _stall
{
	my ($self) = @_;

	return 0 unless $self->{peer}->running;
	$self->{stalled} = 1;
	$self->{peer}->signal('STOP');
	return 1;
}

# Somebody else becomes the producer that a lane is.
sub _fence
{
	my ($self) = @_;
	my $id = $self->{stalled} ? undef : $self->{ledger}{server}->query('app',
		'SELECT ledger_id FROM token_ledger.instance');
	my @names = grep { $options{$_}{transactional} } $self->names;
	my $name = $names[ rand @names ];

	return 0 unless $id;
	return eval {
		$self->{peer}->fence($name, "tokenledger-$id-$name-" . int rand 3);
		1;
	} // 0;
}

# Undoes what lasts.
sub relent
{
	my ($self) = @_;

	$self->{peer}->signal('CONT') if $self->{stalled};
	$self->{stalled} = 0;
	$self->{peer}->start unless $self->{peer}->running;
	return;
}

sub await
{
	my ($self) = @_;

	return if $self->{stalled};
	$self->{peer}->await($START_SECONDS, sub { $self->{peer}->answers })
	  or die "the store does not come back\n";
	return;
}

sub abandon
{
	my ($self) = @_;

	$self->{peer}->kill9 if $self->{peer};
	return;
}

1;
