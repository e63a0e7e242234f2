# The ledger under torture, and its targets.
#
#	--store postgres	"same", a database of the ledger's own server that dies
#						with it, and "other", "bare" and "picky" in a second one
#	--store clickhouse	"zstd", "lz4", "wide" and "picky" in ClickHouse's engine,
#						and "other" in PostgreSQL beside it
#	--store bigquery	"committed", "pending", "wide" and "picky" in its double,
#						and "other"
#	--store snowflake	"merge", "channel", "wide" and "picky" in its double, and
#						"other"
#	--store kafka		"exact", "exact_wide" and "plain" in a broker of Apache
#						Kafka, and "other" in PostgreSQL beside it
#
# Torture/Targets says what they are.  The ledger's database and that of "bare"
# are on a small disk, if there is one.
package Torture::Ledger;

use strict;
use warnings FATAL => 'all';

use File::Temp;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use Torture::Server;
use Torture::Targets::Postgres;

my %kinds = (
	bigquery => sub { _beside($_[0], 'BigQuery') },
	clickhouse => sub { _beside($_[0], 'ClickHouse') },
	kafka => sub { _beside($_[0], 'Kafka') },
	postgres => \&_in_postgres,
	snowflake => sub { _beside($_[0], 'Snowflake') });

our $CREATE_SECONDS = 120;

sub kinds { return sort keys %kinds }

# dir, disk, store, seed; apart: no target is in the ledger's own server
sub new
{
	my ($class, %self) = @_;
	my $self = bless \%self, $class;

	srand $self->{seed};
	$self->{server} = Torture::Server->new(
		name => 'ledger', dir => $self->{dir});
	$self->{stores} = [ $kinds{ $self->{store} }->($self) ];
	foreach my $store ($self->stores)
	{
		$self->{targets}{$_} = $store foreach $store->names;
	}
	return $self;
}

sub _in_postgres
{
	my ($self) = @_;
	my $same = Torture::Targets::Postgres->new(
		names => ['same'],
		server => $self->{server});

	return ($self->{apart} ? () : $same,
		$self->_second_server(qw(other bare picky)));
}

# Targets of another kind, and one in PostgreSQL.
sub _beside
{
	my ($self, $kind) = @_;
	my $class = "Torture::Targets::$kind";

	eval "require $class; 1" or die $@;
	return ($class->new(dir => $self->{dir}), $self->_second_server('other'));
}

sub _second_server
{
	my ($self, @names) = @_;

	return Torture::Targets::Postgres->new(
		names => \@names,
		dir => $self->{dir});
}

sub stores { my ($self) = @_; return @{ $self->{stores} } }

# Of PostgreSQL, the ledger's first.
sub servers
{
	my ($self) = @_;

	return ($self->{server}, map { $_->servers } $self->stores);
}

sub targets
{
	my ($self) = @_;

	return sort keys %{ $self->{targets} };
}

# Whose target it is.
sub store
{
	my ($self, $target) = @_;

	return $self->{targets}{$target};
}

sub wires
{
	my ($self) = @_;

	return map { $_->wires } $self->stores;
}

sub create
{
	my ($self) = @_;

	$_->create foreach $self->stores;
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
	my $server = $self->{server};

	$self->_create_tablespaces if $self->{disk};
	$self->create_database($server, 'app', 1);
	$server->must('app', 'CREATE EXTENSION tokenledger');
	$server->must('app', <<'EOQ');
CREATE SCHEMA torture;
CREATE TABLE torture.deleted (event_id uuid);
CREATE TABLE torture.edited (event_id uuid);
CREATE TABLE torture.lost (event_id uuid, synchronous boolean);
CREATE TABLE torture.gone (event_id uuid, "timestamp" timestamptz,
	total_tokens bigint, cost_usd numeric);
CREATE FUNCTION torture.note_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO torture.gone
	SELECT event_id, "timestamp", total_tokens, cost_usd FROM old_rows;
	RETURN NULL;
END $$;
CREATE TRIGGER note_gone AFTER DELETE ON token_ledger.token_ledger_events
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION torture.note_gone();
EOQ
	$_->prepare($self) foreach $self->stores;
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
		$server->must('postgres', "CREATE TABLESPACE small LOCATION '$place'");
	}
	return;
}

# The table of a target.  NB: a step that is cut off by the target's time limit,
# where much else runs, is repeated.
sub create_schema
{
	my ($self, $name) = @_;
	my $sql = "SELECT token_ledger.create_schema('$name')";
	my $deadline = time + $CREATE_SECONDS;

	until (defined $self->{server}->query('app', $sql))
	{
		die "no table for $name; see psql.log\n" if time > $deadline;
		usleep(100_000);	# sleep-ok: interval of a poll with a deadline
	}
	return;
}

# small: on the disk that runs full.
sub create_database
{
	my ($self, $server, $name, $small) = @_;
	my $where = $self->{disk} && $small ? ' TABLESPACE small' : '';

	$server->must('postgres', "CREATE DATABASE $name$where");
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

# Everybody is back, and lets sessions in.
sub await
{
	my ($self) = @_;

	$self->{server}->await;
	$_->await foreach $self->stores;
	return;
}

# What was done to the stores and their wires, and lasts, is undone.
sub relent
{
	my ($self) = @_;

	$_->order('open') foreach $self->wires;
	$_->relent foreach $self->stores;
	return;
}

# Settings drawn by lot: sizes that cut batches and ranges, and lanes that
# change in number while they hold ranges.
sub settings
{
	my ($self, $lanes) = @_;
	my $batch = 20 + int rand 180;
	my $claim = $batch * (1 + int rand 4);
	my $flush = int rand 100;
	my $targets = join ' ', map
	{
		"$_="
		  . $self->store($_)->url($_, $lanes // 1 + int rand 3)
	} $self->targets;

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

# Stops everything without care.
sub abandon
{
	my ($self) = @_;

	$_->abandon foreach $self->stores;
	$self->{server}->stop('immediate') if $self->{server}->postmaster;
	File::Temp::rmtree($self->{disk}) if $self->{disk};
	return;
}

1;
