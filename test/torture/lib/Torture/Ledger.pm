# The ledger under torture, and its stores.
#
#	same	a database of the ledger's own server: dies with it
#	other	a table of a second server, which is killed as well
#	bare	a table without a unique index there: nothing but the core's own
#			care keeps events from being doubled
#	picky	a table there that refuses some events
#
# The ledger's database and that of "bare" are on a small disk, if there is one.
# Between the ledger and the second server are wires that can be cut.
package Torture::Ledger;

use strict;
use warnings FATAL => 'all';

use File::Temp;

use Torture::Server;
use Torture::Wire;

our $TABLE = 'public.token_ledger_events';

# The model of events that "picky" refuses.
our $REFUSED = 'refused';

sub new
{
	my ($class, %self) = @_;
	my $self = bless \%self, $class;

	srand $self->{seed};
	$self->{server} = Torture::Server->new(
		name => 'ledger', dir => $self->{dir});
	$self->{remote} = Torture::Server->new(
		name => 'store', dir => $self->{dir});
	$self->{stores} = {
		same => [ $self->{server}, 'same' ],
		other => [ $self->{remote}, 'other' ],
		bare => [ $self->{remote}, 'bare' ],
		picky => [ $self->{remote}, 'picky' ]
	};
	return $self;
}

sub servers
{
	my ($self) = @_;

	return @{$self}{qw(server remote)};
}

sub targets
{
	my ($self) = @_;

	return sort keys %{ $self->{stores} };
}

# Server and database of a target.
sub store
{
	my ($self, $target) = @_;

	return @{ $self->{stores}{$target} };
}

sub create
{
	my ($self) = @_;

	$self->{remote}->create('');
	foreach my $target ($self->targets)
	{
		my ($server) = $self->store($target);

		$self->{wires}{$target} =
		  Torture::Wire->new("$server->{socket}/.s.PGSQL.5432")
		  if $server == $self->{remote};
	}
	$self->{server}->create(<<'EOC', 'torture.conf' => $self->settings);
shared_preload_libraries = 'tokenledger'
max_worker_processes = 24
max_prepared_transactions = 100
include = 'torture.conf'
EOC
	return;
}

# Databases and tables; the lanes start working.
sub prepare
{
	my ($self) = @_;

	$self->_create_tablespaces if $self->{disk};
	foreach my $target ($self->targets)
	{
		$self->_create_database($self->store($target));
	}
	$self->_create_database($self->{server}, 'app');
	_must($self->{server}, 'app', 'CREATE EXTENSION tokenledger');
	_must($self->{server}, 'app', <<'EOQ');
CREATE SCHEMA torture;
CREATE TABLE torture.deleted (event_id uuid);
CREATE TABLE torture.edited (event_id uuid);
EOQ
	$self->_create_bare_table;
	$self->_create_picky_table;
	return;
}

sub _create_tablespaces
{
	my ($self) = @_;

	mkdir $self->{disk} or die "$self->{disk}: $!\n";
	foreach my $server ($self->servers)
	{
		my $place = "$self->{disk}/$server->{name}";

		mkdir $place or die "$place: $!\n";
		_must($server, 'postgres', "CREATE TABLESPACE small LOCATION '$place'");
	}
	return;
}

sub _create_database
{
	my ($self, $server, $name) = @_;
	my $where =
	  $self->{disk} && $name =~ /^(app|bare)$/ ? ' TABLESPACE small' : '';

	_must($server, 'postgres', "CREATE DATABASE $name$where");
	return;
}

# Until it is emptied again.  false: there is none.
sub fill_disk
{
	my ($self) = @_;
	my $block = 'x' x 65536;

	return 0 unless $self->{disk};
	open my $filler, '>', "$self->{disk}/filler" or return 0;
	while (syswrite $filler, $block) { }
	while (syswrite $filler, 'x') { }
	close $filler;
	return 1;
}

sub empty_disk
{
	my ($self) = @_;

	unlink "$self->{disk}/filler" if $self->{disk};
	return;
}

# NB: a table that is there is not altered, so it stays without the index.
sub _create_bare_table
{
	my ($self) = @_;

	_must($self->{server}, 'app', "SELECT token_ledger.create_schema('bare')");
	_must($self->{remote}, 'bare',
		'ALTER TABLE token_ledger_events DROP CONSTRAINT IF EXISTS'
		  . ' token_ledger_events_pkey');
	return;
}

sub _create_picky_table
{
	my ($self) = @_;

	_must($self->{server}, 'app', "SELECT token_ledger.create_schema('picky')");
	_must($self->{remote}, 'picky',
		"ALTER TABLE token_ledger_events ADD CHECK (model <> '$REFUSED')");
	return;
}

sub wires
{
	my ($self) = @_;

	return map { $self->{wires}{$_} } sort keys %{ $self->{wires} };
}

# Settings drawn by lot: sizes that cut batches and ranges, and lanes that
# change in number while they hold ranges.
sub settings
{
	my ($self, $lanes) = @_;
	my $batch = 20 + int rand 180;
	my $claim = $batch * (1 + int rand 4);
	my $flush = int rand 100;
	my $targets = join ' ', map { $self->_entry($_, $lanes) } $self->targets;

	return <<EOC;
tokenledger.databases = 'app'
tokenledger.targets = '$targets'
tokenledger.batch_rows = $batch
tokenledger.claim_rows = $claim
tokenledger.flush_interval = ${flush}ms
tokenledger.poll_interval = 500ms
tokenledger.retry_min = 10ms
tokenledger.retry_max = 500ms
tokenledger.timeout = 2s
EOC
}

sub _entry
{
	my ($self, $target, $lanes) = @_;
	my ($server, $database) = $self->store($target);
	my $wire = $self->{wires}{$target};
	my $where =
	  $wire
	  ? "postgresql://torture\@127.0.0.1:" . $wire->port . "/$database?"
	  : "postgresql://torture@/$database?host=$server->{socket}&port=5432&";

	$lanes //= 1 + int rand 3;
	return "$target=${where}lanes=$lanes&connect_timeout=2s";
}

# Stops everything without care.
sub abandon
{
	my ($self) = @_;

	foreach my $server ($self->servers)
	{
		$server->stop('immediate') if $server->postmaster;
	}
	File::Temp::rmtree($self->{disk}) if $self->{disk};
	return;
}

sub _must
{
	my ($server, $database, $sql) = @_;

	defined $server->query($database, $sql)
	  or die "failed: $sql; see psql.log\n";
	return;
}

1;
