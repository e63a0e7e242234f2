# Targets in PostgreSQL: each a database of one server, of the ledger's own or of
# another, to which wires lead.
#
#	other	is reached by TLS, and checks whom it talks to
#	bare	has no unique index: nothing but the core's own care keeps events
#			from being doubled
#	picky	refuses some events
package Torture::Targets::Postgres;

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;

use Torture::Certificates;
use Torture::Clock;
use Torture::Server;
use Torture::Wire;
use Torture::Writer;

our $TABLE = 'token_ledger_events';

# names: of the targets.  dir: of a server of their own; or server: the ledger's,
# which others create, restart and stop.
sub new
{
	my ($class, %self) = @_;
	my $self = bless { wires => {}, stalled => [], %self }, $class;

	$self->{own} = defined $self->{server};
	$self->{server} //= Torture::Server->new(
		name => 'store',
		dir => $self->{dir},
		port => _free_port());
	return $self;
}

sub _free_port
{
	my $socket = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		Listen => 1) // die "no port: $@\n";

	return $socket->sockport;
}

sub names { my ($self) = @_; return @{ $self->{names} } }

sub wires
{
	my ($self) = @_;

	return map { $self->{wires}{$_} } sort keys %{ $self->{wires} };
}

# Servers whose logs are looked through, and who have a part of the small disk.
sub servers
{
	my ($self) = @_;

	return $self->{own} ? () : $self->{server};
}

sub create
{
	my ($self) = @_;
	my $server = $self->{server};

	return if $self->{own};
	$self->{certificates} =
	  Torture::Certificates->new("$self->{dir}/store_tls");
	$server->{clock} = Torture::Clock->new("$self->{dir}/store_clock");
	$server->create($self->{certificates} ? <<EOC : '');
listen_addresses = '127.0.0.1'
ssl = on
ssl_cert_file = '@{[ $self->{certificates}->certificate ]}'
ssl_key_file = '@{[ $self->{certificates}->key ]}'
EOC
	$self->{wires}{$_} = Torture::Wire->new(
		$self->_has_tls($_)
		? "127.0.0.1:$server->{port}"
		: "$server->{socket}/.s.PGSQL.$server->{port}")
	  foreach $self->names;
	return;
}

sub _has_tls
{
	my ($self, $name) = @_;

	return $self->{certificates} && $name eq 'other';
}

# The ledger's settings name the targets; its lanes may be at work.
sub prepare
{
	my ($self, $ledger) = @_;

	foreach my $name ($self->names)
	{
		$ledger->create_database($self->{server}, $name, $name eq 'bare');
	}
	foreach my $name (grep { /^(bare|picky)$/ } $self->names)
	{
		$ledger->create_schema($name);
		$self->{server}->must($name, "ALTER TABLE $TABLE "
			  . ($name eq 'bare'
				? "DROP CONSTRAINT IF EXISTS ${TABLE}_pkey"
				: "ADD CHECK (model <> '$Torture::Writer::REFUSED')"));
	}
	return;
}

# NB: a table that is there is not altered, so "bare" stays without the index.
sub url
{
	my ($self, $name, $lanes) = @_;
	my $wire = $self->{wires}{$name};
	my $where =
	  $wire
	  ? "postgresql://torture\@127.0.0.1:" . $wire->port . "/$name?"
	  : "postgresql://torture@/$name?host=$self->{server}{socket}&port=5432&";

	$where .= 'sslmode=verify-full&sslrootcert='
	  . $self->{certificates}->authority . '&'
	  if $self->_has_tls($name);
	return "${where}lanes=$lanes&connect_timeout=2s";
}

# Hands on each row that a target holds, as COPY reads it.
sub rows
{
	my ($self, $name, $take) = @_;

	open my $from, '-|',
	  $self->{server}->psql($name, '-c',
		"COPY (SELECT $Torture::Writer::COLUMNS FROM public.$TABLE) TO STDOUT")
	  or die "psql: $!\n";
	$take->($_) while <$from>;
	close $from or die "could not read the store of $name\n";
	return;
}

sub faults
{
	my ($self) = @_;
	my $server = $self->{server};
	my $names = join '|', $self->names;
	my $sessions = qr/^torture ($names) /;

	return [ 3, 'end store session', 0,
		sub { $server->signal('TERM', $sessions) } ]
	  if $self->{own};
	return (
		[ 7, 'end store session', 0,
			sub { $server->signal('TERM', $sessions) } ],
		[ 7, 'kill store session', 1,
			sub { $server->signal('KILL', $sessions) } ],
		[ 3, 'kill store server', 1, sub { $server->crash; 1 } ],
		[ 4, 'stall store session', 0, sub { $self->_stall($sessions) } ],
		[ 3, 'wrong certificate', 0, sub { $self->_pretend } ],
		[ 2, 'clock jump', 0, sub { $self->_jump } ]);
}

# NB: certificates are valid at any time that it may show.
sub _jump
{
	my ($self) = @_;
	my $clock = $self->{server}{clock} or return 0;

	$clock->jump;
	return 1;
}

# Connections that are there are not asked again, so they end.
sub _pretend
{
	my ($self) = @_;
	my $certificates = $self->{certificates} or return 0;

	$certificates->show_wrong;
	$self->{server}->reload;
	kill 'TERM', map { $_->[0] }
	  grep { $_->[1] =~ /^torture other / } $self->{server}->processes;
	return 1;
}

# A session that does not answer, and goes on later: its transaction may land
# after the lane has given it up.
sub _stall
{
	my ($self, $sessions) = @_;
	my $pid = $self->{server}->signal('STOP', $sessions) or return 0;

	push @{ $self->{stalled} }, $pid;
	return 1;
}

# Undoes what lasts.
sub relent
{
	my ($self) = @_;

	kill 'CONT', $_ foreach splice @{ $self->{stalled} };
	if ($self->{certificates} && $self->{certificates}->is_wrong)
	{
		$self->{certificates}->show('right');
		$self->{server}->reload;
	}
	return;
}

sub await
{
	my ($self) = @_;

	$self->{server}->await;
	return;
}

sub abandon
{
	my ($self) = @_;
	my $server = $self->{server};

	$server->stop('immediate') if !$self->{own} && $server->postmaster;
	return;
}

1;
