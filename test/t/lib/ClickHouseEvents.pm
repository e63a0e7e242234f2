
=pod

=head1 NAME

ClickHouseEvents - compares a ledger with a table of ClickHouse

=head1 SYNOPSIS

  use ClickHousePeer;
  use ClickHouseEvents;

  clickhouse_forwarded_ok($node, 'app', 'warehouse', $peer);

=head1 DESCRIPTION

What ClickHouse holds is copied, as text: see StoreCopy.

=cut

package ClickHouseEvents;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

use StoreCopy;

our @EXPORT = qw(clickhouse_copy clickhouse_forwarded_ok);

=pod

=over

=item clickhouse_copy($node, $peer, $table, %params)

Makes a table of the database clickhouse_copy that holds what the store's
table does, and returns its name.  database: of the store's table; final => 1:
rows of one key are one.

=cut

sub clickhouse_copy
{
	my ($node, $peer, $table, %params) = @_;
	my $database = $params{database} // 'default';
	my $from = "$database.$table" . ($params{final} ? ' FINAL' : '');
	my ($copy, $file) = empty_copy($node, 'clickhouse_copy');
	my @columns = split /\n/,
	  $peer->query("SELECT name FROM system.columns WHERE table = '$table'"
		  . " AND database = '$database' ORDER BY position");

	open my $out, '>', $file or die "$file: $!";
	print $out $peer->query('SELECT '
		  . join(', ', map { qq("$_") } @columns)
		  . " FROM $from FORMAT TabSeparated"), "\n";
	close $out or die "$file: $!";
	$node->safe_psql('clickhouse_copy',
			"SET timezone = 'UTC';\n"
		  . "\\copy $copy ("
		  . join(', ', map { qq("$_") } @columns)
		  . ") FROM '$file'")
	  if $peer->query("SELECT count() FROM $from") > 0;
	return $copy;
}

=pod

=item clickhouse_forwarded_ok($node, $database, $target, $peer, %params)

As copy_forwarded_ok() of StoreCopy.  table: the store's (default
token_ledger_events).

=cut

sub clickhouse_forwarded_ok
{
	my ($node, $database, $target, $peer, %params) = @_;
	my $table = delete $params{table} // 'token_ledger_events';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return copy_forwarded_ok($node, $database, $target, 'clickhouse_copy',
		sub { clickhouse_copy($node, $peer, $table) }, %params);
}

1;
