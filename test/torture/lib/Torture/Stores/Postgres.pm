# Tables of a second PostgreSQL server, as stores of the sweep.
package Torture::Stores::Postgres;

use strict;
use warnings FATAL => 'all';

use Torture::Server;

sub new
{
	my ($class, $dir) = @_;
	my $server = Torture::Server->new(name => 'store', dir => $dir);

	$server->create('');
	defined $server->query('postgres', 'CREATE DATABASE store')
	  or die "failed: CREATE DATABASE; see psql.log\n";
	return bless { server => $server }, $class;
}

# What the wires lead to.
sub upstream
{
	my ($self) = @_;

	return "$self->{server}{socket}/.s.PGSQL.5432";
}

# NB: the port is the wire's.
sub url
{
	my ($self, $name, $port) = @_;

	return "postgresql://torture\@127.0.0.1:$port/store?table=public.$name"
	  . '&connect_timeout=20s';
}

# What it can do to be told apart in the report; the table is there.  Every
# other one has no unique index, so that only the core's own care keeps events
# from being doubled.
sub kind
{
	my ($self, $name) = @_;
	my $bare = $name =~ /[13579]$/;

	defined $self->{server}->query('store',
		"ALTER TABLE $name DROP CONSTRAINT IF EXISTS ${name}_pkey")
	  or die "table $name is not there; see psql.log\n"
	  if $bare;
	return $bare ? 'without index' : 'unique index';
}

# Ids of the events, one for each copy.
sub arrived
{
	my ($self, $name) = @_;
	my $ids = $self->{server}->query('store', "SELECT event_id FROM $name");

	return split /\n/, $ids // die "could not read table $name\n";
}

# A request that comes late finds that its lane has given it up.
sub fences_late
{
	return 1;
}

# What goes wrong with its requests, goes wrong on the wire.
sub fault
{
	return undef;
}

sub holds
{
	return 0;
}

# A session, or everything at once.
sub kill
{
	my ($self) = @_;

	return $self->{server}->signal('KILL', qr/^torture store/)
	  if rand() < 0.5;
	$self->{server}->kill_all;
	return $self->{down} = 1;
}

sub tend
{
	return;
}

# Undoes what lasts.
sub relent
{
	my ($self) = @_;

	$self->{server}->start if $self->{down};
	$self->{down} = 0;
	$self->{server}->await;
	return;
}

sub stop
{
	my ($self) = @_;

	$self->{server}->stop('immediate') if $self->{server}->postmaster;
	return;
}

1;
