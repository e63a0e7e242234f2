
=pod

=head1 NAME

TimescaleStore - a TimescaleDB for the tests of backend timescale

=head1 SYNOPSIS

  use TimescaleStore;

  my $store = timescale_store('main')
	or plan skip_all => timescale_missing();

  set_targets($node, 'warehouse=' . $store->url);
  forwarded_ok($node, 'app', 'warehouse', $store, $store->db,
	  table => $store->table);

=head1 DESCRIPTION

The store is one of these, and the tests are the same with each:

=over

=item dsn

The database that TIMESCALEDB_DSN names, a URI or keywords and values as libpq
reads them.  Its role must be allowed to create a schema there: all that a test
makes is in one, which is dropped at its end.

=item installed

A server of its own, where this PostgreSQL installation has the extension: the
Apache edition in Debian.

=item stand-in

A server without the extension that records calls; only for tests whose names
have call_shape in them.  See test/modules/timescale_calls.

=back

Objects take the place of a PostgreSQL::Test::Cluster wherever TokenLedger.pm
only runs SQL.

=cut

package TimescaleStore;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

use TokenLedger;

my @in_dsn;	# stores whose schemas are to be dropped

our @EXPORT = qw(timescale_missing timescale_full_missing timescale_store);

=pod

=head1 FUNCTIONS

=over

=item timescale_missing()

Why there is no TimescaleDB here; undef if there is one.

=cut

sub timescale_missing
{
	return undef if _dsn() || _installed();
	return 'no TimescaleDB: this PostgreSQL installation lacks it and'
	  . ' TIMESCALEDB_DSN is not set';
}

=pod

=item timescale_full_missing($store)

Why the store is not one with compression, policies and continuous aggregates;
undef if it is.

=cut

sub timescale_full_missing
{
	my ($store) = @_;

	return undef if $store->license ne 'apache';
	return 'this TimescaleDB is the Apache edition: set TIMESCALEDB_DSN to a'
	  . ' full one';
}

=pod

=item timescale_store($name, %params)

The store, with an empty schema of this name; undef if there is none.
stand_in => 1: where there is no full edition, a stand-in.  extension => 0: the
extension is not created in the database.  conf: more settings of the server,
where it is ours.

=cut

sub timescale_store
{
	my ($name, %params) = @_;
	my $self = bless { name => $name, %params }, __PACKAGE__;

	if (_dsn())
	{
		$self->_reach_dsn;
	}
	elsif (_installed())
	{
		$self->_start_server('timescaledb');
		$self->safe_psql(undef, 'CREATE EXTENSION timescaledb')
		  unless defined $params{extension} && !$params{extension};
	}
	if ($params{stand_in} && (!$self->{connection} || !$self->_is_full))
	{
		$self->_start_server('timescale_calls');
		stand_in($self->{node}, $self->db);
	}
	return undef unless $self->{connection};
	$self->{schema} = 'tl_' . $name . '_' . $$;
	$self->safe_psql(undef, "CREATE SCHEMA $self->{schema}");
	push @in_dsn, $self if $self->{parts};
	return $self;
}

=pod

=item stand_in($node, $database, %params)

Makes the database look like a TimescaleDB that records calls; the server has
preloaded timescale_calls.  version: what it claims to be (default 2.13.0);
schema: of the extension.

=cut

sub stand_in
{
	my ($node, $database, %params) = @_;
	my $version = $params{version} // '2.13.0';
	my $schema = $params{schema} // 'public';
	my $file =
	  "$ENV{TOKENLEDGER_TREE}/test/modules/timescale_calls/stand_in.sql";

	$node->psql(
		$database,
		slurp_file($file),
		on_error_die => 1,
		extra_params => [ '-v', "version=$version", '-v', "schema=$schema" ]);
	return;
}

sub _dsn
{
	return $ENV{TIMESCALEDB_DSN} // '';
}

sub _installed
{
	my $directory = `pg_config --sharedir`;

	chomp $directory;
	return -e "$directory/extension/timescaledb.control";
}

sub _is_full
{
	my ($self) = @_;

	return !defined timescale_full_missing($self);
}

sub _start_server
{
	my ($self, $library) = @_;
	my $node =
	  PostgreSQL::Test::Cluster->new("$self->{name}_" . $library =~ s/\W//gr);

	$node->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
	$node->append_conf('postgresql.conf', <<EOC . ($self->{conf} // ''));
shared_preload_libraries = '$library'
max_worker_processes = 32
max_connections = 200
restart_after_crash = on
log_statement = none
EOC
	$node->start;
	create_store($node, 'store');
	$self->{node} = $node;
	$self->{library} = $library;
	$self->{database} = 'store';
	$self->{connection} = $node->connstr('store');
	return;
}

sub _reach_dsn
{
	my ($self) = @_;

	$self->{connection} = _dsn();
	$self->{parts} = _parse_dsn(_dsn());
	$self->{database} = $self->safe_psql(undef, 'SELECT current_database()');
	return;
}

# What a URL of a target needs to know.  Escapes of URIs are kept, for a URL
# has the same.
sub _parse_dsn
{
	my ($dsn) = @_;
	my %parts;

	if ($dsn =~ m{^postgres(?:ql)?://(?:([^:@/]*)(?::([^@/]*))?@)?([^/?]*)
			(?:/([^?]*))?(?:\?(.*))?$}x)
	{
		%parts = (user => $1, password => $2, hosts => $3, dbname => $4);
		foreach my $option (split /&/, $5 // '')
		{
			my ($name, $value) = split /=/, $option, 2;

			$parts{$name} = $value;
		}
		return \%parts;
	}
	while ($dsn =~ /(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))/g)
	{
		my ($name, $value) = ($1, $2 // $3);

		$value =~ s/\\(.)/$1/g;
		$value =~ s/([^A-Za-z0-9_.,:\/-])/sprintf('%%%02X', ord $1)/ge;
		$parts{$name} = $value;
	}
	return \%parts;
}

=pod

=back

=head1 METHODS

=over

=item db, schema, table

Of the target's table.

=cut

sub db
{
	my ($self) = @_;

	return $self->{database};
}

sub schema
{
	my ($self) = @_;

	return $self->{schema};
}

sub table
{
	my ($self, $name) = @_;

	return "$self->{schema}." . ($name // 'token_ledger_events');
}

=pod

=item node

Its server; undef if it is not ours.

=cut

sub node
{
	my ($self) = @_;

	return $self->{node};
}

=pod

=item license

"timescale" or "apache"; the stand-in plays "timescale".

=cut

sub license
{
	my ($self) = @_;

	return $self->safe_psql(undef, 'SHOW timescaledb.license');
}

=pod

=item version

Of the extension.

=cut

sub version
{
	my ($self) = @_;

	return $self->safe_psql(undef,
		"SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'");
}

=pod

=item kind

"dsn", "installed" or "stand-in".

=cut

sub kind
{
	my ($self) = @_;

	return $self->{parts} ? 'dsn' : $self->{library} eq 'timescaledb' ?
	  'installed' : 'stand-in';
}

=pod

=item url(%options)

The URL of a target; options are added as they are given.

=cut

sub url
{
	my ($self, %options) = @_;
	my %all = (table => $self->table, %options);

	return $self->_dsn_url(\%all) if $self->{parts};
	return store_url($self->{node}, $self->{database}, %all) =~
	  s/^postgresql/timescale/r;
}

# libpq's defaults are those of the DSN, and other than the backend's.
sub _dsn_url
{
	my ($self, $all) = @_;
	my %parts = %{ $self->{parts} };
	my ($user, $password, $hosts, $host, $dbname) =
	  delete @parts{qw(user password hosts host dbname)};

	delete $parts{application_name};
	$all->{sslmode} //= $parts{sslmode} // 'prefer';
	if (defined $hosts && $hosts ne '')
	{
		delete $parts{port};
	}
	elsif (defined $host)
	{
		$parts{host} = $host;
	}
	$all->{password_file} //= $self->_password_file($password)
	  if defined $password;
	$all = {
		%parts, map { $_ => TokenLedger::_encoded($all->{$_}) } keys %$all
	};
	return
		'timescale://'
	  . (defined $user ? "$user@" : '')
	  . ($hosts // '') . '/'
	  . ($dbname // $self->{database}) . '?'
	  . join('&', map { "$_=$all->{$_}" } sort keys %$all);
}

sub _password_file
{
	my ($self, $password) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir . '/timescale_password';

	$password =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
	append_to_file($file, "$password\n") unless -e $file;
	chmod 0600, $file or die "chmod: $!";
	return $file;
}

=pod

=item safe_psql($database, $sql), psql($database, $sql, %params)

As PostgreSQL::Test::Cluster's, in the store's database whatever is named.

=cut

sub safe_psql
{
	my ($self, undef, $sql) = @_;
	my ($out, $err) = ('', '');
	my $ok = $self->psql(undef, $sql, stdout => \$out, stderr => \$err);

	die "error running SQL: '$err'\nwhile running: $sql" unless $ok == 0;
	return $out;
}

sub psql
{
	my ($self, undef, $sql, %params) = @_;
	my @command = ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$self->{connection}, '-f', '-');
	my ($out, $err) = ('', '');

	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	IPC::Run::run(\@command, '<', \$sql, '>', \$out, '2>', \$err);
	chomp $out;
	chomp $err;
	${ $params{stdout} } = $out if $params{stdout};
	${ $params{stderr} } = $err if $params{stderr};
	return $? >> 8;
}

=pod

=back

=cut

# Before Perl takes the modules apart.
END
{
	local ($?, $@);

	foreach my $self (@in_dsn)
	{
		eval {
			$self->safe_psql(undef, "DROP SCHEMA $self->{schema} CASCADE");
		};
	}
}

1;
