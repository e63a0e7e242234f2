# The ledger under torture, and its stores.
#
#	same	a database of the ledger's own server: dies with it
#	other	a table of a second server, which is killed as well
#	bare	a table without a unique index there: nothing but the core's own
#			care keeps events from being doubled
package Torture::Ledger;

use strict;
use warnings FATAL => 'all';

use Torture::Server;

our $TABLE = 'public.token_ledger_events';

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
		bare => [ $self->{remote}, 'bare' ]
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

	foreach my $target ($self->targets)
	{
		my ($server, $database) = $self->store($target);

		_must($server, 'postgres', "CREATE DATABASE $database");
	}
	_must($self->{server}, 'postgres', 'CREATE DATABASE app');
	_must($self->{server}, 'app', 'CREATE EXTENSION tokenledger');
	$self->_create_bare_table;
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

# Settings drawn by lot: sizes that cut batches and ranges, and lanes that
# change in number while they hold ranges.
sub settings
{
	my ($self) = @_;
	my $batch = 20 + int rand 180;
	my $claim = $batch * (1 + int rand 4);
	my $flush = int rand 100;
	my $targets = join ' ', map { $self->_entry($_) } $self->targets;

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
	my ($self, $target) = @_;
	my ($server, $database) = $self->store($target);
	my $lanes = 1 + int rand 3;

	return "$target=postgresql://torture@/$database?host=$server->{socket}"
	  . "&port=5432&lanes=$lanes&connect_timeout=2s";
}

# Stops everything without care.
sub abandon
{
	my ($self) = @_;

	foreach my $server ($self->servers)
	{
		$server->stop('immediate') if $server->postmaster;
	}
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
