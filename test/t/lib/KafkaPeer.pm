
=pod

=head1 NAME

KafkaPeer - a broker of Apache Kafka, and a reader that is not ours, for tests

=head1 SYNOPSIS

  use KafkaPeer;

  plan skip_all => kafka_hindrance() if kafka_hindrance();
  my $broker = KafkaPeer->new;
  set_targets($node, 'stream=' . $broker->url('events'));
  is(scalar $broker->messages('events'), 1000);

=head1 DESCRIPTION

One node that is broker and controller (KRaft), from the libraries that
TOKENLEDGER_KAFKA names.  Topics are read by kcat.  A peer keeps port and data
over stop, kill9 and start; it makes no topic by itself.  Peer says what else it
can do; there are no faults.

=cut

package KafkaPeer;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;

use StoreCopy;

use parent 'Peer';

our @EXPORT = qw(kafka_hindrance kafka_forwarded_ok);

=pod

=over

=item kafka_hindrance()

Why there can be no broker here, or no backend for it; undef if there can.

=cut

sub kafka_hindrance
{
	my $config = $ENV{PG_CONFIG} // 'pg_config';
	my $libdir = qx("$config" --pkglibdir);

	chomp $libdir;
	return 'backend kafka was not built'
	  unless -e "$libdir/tokenledger_kafka.so";
	return 'no broker of Kafka: '
	  . ($ENV{TOKENLEDGER_KAFKA_MISSING} || 'TOKENLEDGER_KAFKA is not set')
	  if ($ENV{TOKENLEDGER_KAFKA} // '') eq '';
	return undef;
}

=pod

=item KafkaPeer->new(%params)

A running broker.  settings: lines for its server.properties.  password: of
user "ledger", for the second listener, which wants SASL: PLAIN, SCRAM or
OAUTHBEARER, with tokens that need no signature.  keystore: a PKCS #12 file whose
password is "keystore"; with it the third listener, tls_port, speaks TLS and wants
SASL.  start => 0: not started yet.  dir: for data and log, not there yet; default:
a temporary one.  wire: a function that is given the port and returns the one at
which clients are told to find the broker.

=cut

sub new
{
	my ($class, %params) = @_;
	my $start = delete $params{start} // 1;
	my $self = $class->make('kafka', kafka_hindrance(), %params);

	mkdir $self->{dir} or die "could not create $self->{dir}: $!\n"
	  unless $self->{own_dir};
	$self->{$_} = $self->_free_port
	  foreach qw(port controller_port sasl_port tls_port);
	$self->{wire_port} = $self->{wire}->($self->{port}) if $self->{wire};
	$self->_format;
	$self->start if $start;
	return $self;
}

# NB: below those that the system gives to whoever connects, as it must be free
# still when the broker comes back.  Without a test's set-up nobody reserves any.
sub _free_port
{
	my ($self) = @_;

	return PostgreSQL::Test::Cluster::get_free_port() if $self->{own_dir};
	for (;;)
	{
		my $port = 12000 + int rand 20000;

		return $port
		  if IO::Socket::INET->new(
			LocalAddr => '127.0.0.1',
			LocalPort => $port,
			Listen => 1);
	}
	return;
}

sub _format
{
	my ($self) = @_;
	Peer::spew("$self->{dir}/server.properties", $self->_settings);
	Peer::spew("$self->{dir}/log4j2.json", <<'EOC');
{"Configuration": {
	"Appenders": {"Console": {"name": "out",
		"PatternLayout": {"pattern": "%d %p %m%n"}}},
	"Loggers": {"Root": {"level": "WARN", "AppenderRef": {"ref": "out"}}}
}}
EOC
	$self->spawn($self->_java(
		'kafka.tools.StorageTool', 'format',
		'-t', 'AAAAAAAAAAAAAAAAAAAAAQ',
		'-c', "$self->{dir}/server.properties",
		map {
			('--add-scram', "$_=[name=ledger,password=" . $self->_password . ']')
		} qw(SCRAM-SHA-256 SCRAM-SHA-512)));
	$self->await_end(60);
	die "could not format:\n" . $self->log
	  unless -e "$self->{dir}/data/meta.properties";
	return;
}

sub _settings
{
	my ($self) = @_;
	my ($port, $controller, $sasl) =
	  @$self{qw(port controller_port sasl_port)};
	my $tls = $self->{keystore} ? ",SASL_SSL://127.0.0.1:$self->{tls_port}" : '';
	my $shown = $self->{wire_port} // $port;

	return <<EOC . $self->_logins . ($self->{settings} // '');
process.roles=broker,controller
node.id=1
controller.quorum.voters=1\@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:$controller$tls
advertised.listeners=PLAINTEXT://127.0.0.1:$shown,SASL_PLAINTEXT://127.0.0.1:$sasl$tls
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
log.dirs=$self->{dir}/data
auto.create.topics.enable=false
num.partitions=3
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
EOC
}

sub _password
{
	my ($self) = @_;

	return $self->{password} // 'none';
}

# Who may in, by which mechanism; the keystore.
sub _logins
{
	my ($self) = @_;
	my $modules = 'org.apache.kafka.common.security';
	my %login = (
		plain => "$modules.plain.PlainLoginModule required user_ledger=\""
		  . $self->_password . '"',
		'scram-sha-256' => "$modules.scram.ScramLoginModule required",
		'scram-sha-512' => "$modules.scram.ScramLoginModule required",
		oauthbearer => "$modules.oauthbearer.OAuthBearerLoginModule required"
		  . ' unsecuredLoginStringClaim_sub="broker"');
	my $lines = '';

	foreach my $listener ('sasl_plaintext', $self->{keystore} ? 'sasl_ssl' : ())
	{
		$lines .= "listener.name.$listener.$_.sasl.jaas.config=$login{$_};\n"
		  foreach sort keys %login;
	}
	$lines .= <<EOC if $self->{keystore};
ssl.keystore.type=PKCS12
ssl.keystore.location=$self->{keystore}
ssl.keystore.password=keystore
ssl.key.password=keystore
EOC
	return $lines;
}

=pod

=item start(), answers()

start returns when the broker answers, and dies if it does not within 60
seconds.

=cut

sub start
{
	my ($self) = @_;

	return $self->launch(60, sub { $self->answers },
		$self->_java('kafka.Kafka', "$self->{dir}/server.properties"));
}

sub answers
{
	my ($self) = @_;

	return system("kcat -L -m 2 -b 127.0.0.1:$self->{port}"
		  . ' >/dev/null 2>&1') == 0;
}

sub _java
{
	my ($self, @main) = @_;

	return (
		'java', '-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1',
		"-Dlog4j2.configurationFile=$self->{dir}/log4j2.json",
		"-Djava.io.tmpdir=$self->{dir}",
		'-cp', "$ENV{TOKENLEDGER_KAFKA}/*", @main);
}

sub settle_in { my ($self) = @_; chdir $self->{dir}; return }

=pod

=item url($topic, %options)

The broker as a target.  user and port (of a proxy, or sasl_port) besides the
target's options.

=cut

sub url
{
	my ($self, $topic, %options) = @_;
	my $port = delete $options{port} // $self->{port};
	my $user = delete $options{user};
	my $query = join '&', map { "$_=$options{$_}" } sort keys %options;

	return 'tokenledger+kafka://'
	  . (defined $user ? "$user\@" : '')
	  . "127.0.0.1:$port/$topic"
	  . ($query eq '' ? '' : "?$query");
}

=pod

=item messages($topic, %params)

Everything that the topic holds, as kcat reads it: a list of hashes with
partition, offset, key, headers and value.  committed => 0: also what was
aborted, and what nobody has committed.

=cut

sub messages
{
	my ($self, $topic, %params) = @_;
	my $isolation = $params{committed} // 1 ? 'read_committed'
	  : 'read_uncommitted';
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(
		[
			'kcat', '-C', '-q', '-e', '-m', '10',
			'-b' => "127.0.0.1:$self->{port}",
			'-t' => $topic,
			'-o' => 'beginning',
			'-X' => "isolation.level=$isolation",
			'-f' => '%p\001%o\001%k\001%h\001%S\001%s'
		],
		'>', \$out, '2>', \$err);

	die "kcat: $err" unless $ok;
	return _parse($out);
}

# The length says where a value ends, which may have any byte.
sub _parse
{
	my ($out) = @_;
	my @messages;

	while ($out =~ /\G([^\001]*)\001([^\001]*)\001([^\001]*)\001([^\001]*)\001(-?[0-9]+)\001/gc)
	{
		my %message;
		my $len = $5 < 0 ? 0 : $5;

		@message{qw(partition offset key headers)} = ($1, $2, $3, $4);
		$message{value} = substr $out, pos($out), $len;
		pos($out) += $len;
		push @messages, \%message;
	}
	die 'not as kcat writes messages' unless (pos($out) // 0) == length $out;
	return @messages;
}

=pod

=item produce($topic, @keys), send($topic, [$key, $value], ...)

Has kcat send a message with each key, or these messages.

=cut

sub produce
{
	my ($self, $topic, @keys) = @_;

	return $self->send($topic, map { [ $_, 'value' ] } @keys);
}

sub send
{
	my ($self, $topic, @messages) = @_;
	my $in = join('', map { "$_->[0]\001$_->[1]\002" } @messages);
	my $err = '';

	IPC::Run::run(
		[
			'kcat', '-P',
			'-b' => "127.0.0.1:$self->{port}",
			'-t' => $topic,
			-K => "\001",
			-D => "\002",
			'-X' => 'topic.partitioner=murmur2_random'
		],
		'<', \$in, '2>', \$err) or die "kcat: $err";
	return;
}

=pod

=item fence($topic, $id)

Has kcat become the producer of this transactional id, and end without having
committed anything.

=cut

sub fence
{
	my ($self, $topic, $id) = @_;
	my ($in, $err) = ('', '');
	my $kcat = IPC::Run::start(
		[
			'kcat', '-P', '-d', 'eos',
			'-b' => "127.0.0.1:$self->{port}",
			'-t' => $topic,
			'-X' => "transactional.id=$id"
		],
		'<', \$in, '2>', \$err);
	my $ok = $self->await(30, sub {
			$kcat->pump_nb;
			return $err =~ /Acquired PID/i;
		});

	$kcat->kill_kill(grace => 0);
	die "kcat: $err" unless $ok;
	return;
}

=pod

=item kafka_forwarded_ok($node, $database, $target, $peer, %params)

Waits until the target has caught up and checks that its topic holds every
event once, as the ledger has it, and nothing else.  topic; where: the events
that it should hold; at_least_once: repetitions that the key identifies are
left out; ours: messages without our headers are left out; decode: a function
from the values to JSON texts; timeout, name.

=cut

sub kafka_forwarded_ok
{
	my ($node, $database, $target, $peer, %params) = @_;
	my $topic = delete $params{topic} // $target;
	my $again = delete $params{at_least_once};
	my $ours = delete $params{ours};
	my $decode = delete $params{decode} // sub { return @_ };

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return copy_forwarded_ok(
		$node, $database, $target, 'kafka_copy',
		sub { _copy($node, $peer, $topic, $again, $ours, $decode) },
		where => 'true',	# NaN is a string in JSON
		%params);
}

# JSON has no control characters, so these can be quote and delimiter.
sub _copy
{
	my ($node, $peer, $topic, $again, $ours, $decode) = @_;
	my ($copy, $file) = empty_copy($node, 'kafka_copy');
	my %seen;

	open my $out, '>', $file or die "$file: $!";
	print $out map { "$_\n" } $decode->(
		map { $_->{value} }
		  grep { !$again || !$seen{ $_->{key} }++ }
		  grep { !$ours || $_->{headers} ne '' } $peer->messages($topic));
	close $out or die "$file: $!";
	$node->safe_psql('kafka_copy', <<EOC);
CREATE TEMP TABLE v (v jsonb);
\\copy v FROM '$file' (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
INSERT INTO $copy SELECT (jsonb_populate_record(NULL::$copy, v)).* FROM v;
UPDATE $copy c SET metadata = v->'metadata', metadata_extra = v->'metadata_extra'
FROM v WHERE (v->>'event_id')::uuid = c.event_id
AND ('null' IN (v->'metadata', v->'metadata_extra'));
EOC
	return $copy;
}

=pod

=back

=cut

1;
