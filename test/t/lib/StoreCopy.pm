
=pod

=head1 NAME

StoreCopy - compares a ledger with what a store of another kind holds

=head1 DESCRIPTION

What the store holds is copied into a table of the test's own server, and compared
there as the events of any other store are.

=cut

package StoreCopy;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

our @EXPORT = qw(copy_forwarded_ok empty_copy json_copy);

# Events of insert_events() that stores without a NaN do not take.
our $POISON = "cost_usd = 'NaN'";

my $copies = 0;

=pod

=over

=item empty_copy($node, $database)

A table for the events of a store, in a database for such tables, which is made if
need be; and a file to load it from, which is not there yet.

=cut

sub empty_copy
{
	my ($node, $database) = @_;
	my $copy = 'copy_' . ++$copies;

	create_store($node, $database);
	$node->safe_psql($database, <<EOC);
CREATE EXTENSION IF NOT EXISTS tokenledger;
CREATE TABLE $copy (LIKE token_ledger.token_ledger_events);
ALTER TABLE $copy DROP ingest_xid, DROP ingest_seq;
EOC
	return ($copy, PostgreSQL::Test::Utils::tempdir() . "/$copy");
}

=pod

=item json_copy($node, $database, $rows)

A table that holds these events: a JSON array of objects, metadata as text.

=cut

sub json_copy
{
	my ($node, $database, $rows) = @_;
	my ($copy, $file) = empty_copy($node, $database);

	# One line of JSON, as COPY wants it: Perl would take long to read it.
	$rows =~ s/\\/\\\\/g;
	open my $out, '>:raw', $file or die "$file: $!";
	print {$out} $rows;
	close $out or die "$file: $!";
	$node->safe_psql($database, <<EOC);
CREATE TEMP TABLE answer (a jsonb);
\\copy answer FROM '$file'
CREATE TEMP TABLE rows AS SELECT jsonb_array_elements(a) AS row FROM answer;
INSERT INTO $copy SELECT (jsonb_populate_record(NULL::$copy,
	row - 'metadata' - 'metadata_extra')).* FROM rows;
UPDATE $copy SET metadata = (row->>'metadata')::jsonb,
	metadata_extra = (row->>'metadata_extra')::jsonb
	FROM rows WHERE event_id = (row->>'event_id')::uuid;
EOC
	return $copy;
}

=pod

=item copy_forwarded_ok($node, $database, $target, $copies, $make, %params)

Waits until the target has caught up and checks that the store holds every event
once, as the ledger has it, but for the poison, and nothing else.  The function
$make copies what it holds to a table of database $copies and returns its name.
where: instead of "all but the poison".  timeout, name.

=cut

sub copy_forwarded_ok
{
	my ($node, $database, $target, $copies, $make, %params) = @_;
	my $name = $params{name} // "$target holds every event once";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up_ok($node, $database, $target, timeout => $params{timeout})
	  or return fail($name);
	return forwarded_ok(
		$node, $database, $target, $node, $copies,
		where => "($POISON) IS NOT TRUE",
		%params,
		name => $name,
		wait => 0,
		table => $make->());
}

=pod

=back

=cut

1;
