# Targets in PostgreSQL: each a database of one server, of the ledger's own or of
# another, to which wires lead.
#
#	bare	has no unique index: nothing but the core's own care keeps events
#			from being doubled
#	picky	refuses some events
package Torture::Targets::Postgres;

use strict;
use warnings FATAL => 'all';

use Torture::Wire;
use Torture::Writer;

our $TABLE = 'token_ledger_events';

# names: of the targets.  server: a Torture::Server.  own: it is the ledger's,
# which others create, restart and stop.
sub new
{
	my ($class, %self) = @_;

	return bless { wires => {}, stalled => [], %self }, $class;
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
	$server->create('');
	$self->{wires}{$_} = Torture::Wire->new("$server->{socket}/.s.PGSQL.5432")
	  foreach $self->names;
	return;
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
		$ledger->{server}->must('app',
			"SELECT token_ledger.create_schema('$name')");
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
		[ 4, 'stall store session', 0, sub { $self->_stall($sessions) } ]);
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
