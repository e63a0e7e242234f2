
=pod

=head1 NAME

ClickHouseEvents - compares a ledger with a table of ClickHouse

=head1 SYNOPSIS

  use ClickHousePeer;
  use ClickHouseEvents;

  clickhouse_forwarded_ok($node, 'app', 'warehouse', $peer);

=head1 DESCRIPTION

What ClickHouse holds is copied, as text, into a table of the test's own
server, and compared there as the events of any other store are.

=cut

package ClickHouseEvents;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

our @EXPORT = qw(
  clickhouse_copy
  clickhouse_forwarded_ok
  clickhouse_poison
);

# Events of insert_events() that ClickHouse does not take.
our $POISON = "cost_usd = 'NaN'";

my $copies = 0;

=pod

=over

=item clickhouse_poison()

A condition on the ledger's events: those of insert_events() that ClickHouse
refuses.

=cut

sub clickhouse_poison
{
	return $POISON;
}

=pod

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
	my $copy = 'copy_' . ++$copies;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$copy.tsv";
	my @columns = split /\n/,
	  $peer->query("SELECT name FROM system.columns WHERE table = '$table'"
		  . " AND database = '$database' ORDER BY position");

	create_store($node, 'clickhouse_copy');
	$node->safe_psql('clickhouse_copy', <<EOC);
CREATE EXTENSION IF NOT EXISTS tokenledger;
CREATE TABLE $copy (LIKE token_ledger.token_ledger_events);
ALTER TABLE $copy DROP ingest_xid, DROP ingest_seq;
EOC
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

Waits until the target has caught up and checks that the store holds every
event once, as the ledger has it, but for the poison, and nothing else.
table: the store's (default token_ledger_events).  where: instead of "all but
the poison".  timeout, name.

=cut

sub clickhouse_forwarded_ok
{
	my ($node, $database, $target, $peer, %params) = @_;
	my $table = delete $params{table} // 'token_ledger_events';
	my $name = $params{name} // "$target holds every event once";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up_ok($node, $database, $target, timeout => $params{timeout})
	  or return fail($name);
	return forwarded_ok(
		$node, $database, $target, $node, 'clickhouse_copy',
		where => "($POISON) IS NOT TRUE",
		%params,
		name => $name,
		wait => 0,
		table => clickhouse_copy($node, $peer, $table));
}

1;
