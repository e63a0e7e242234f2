# Backend postgres: with its unique index; the same, but pretending to know
# less, so that the core has to ask; and a table without the index, where it
# really has to.
#
# place is what follows "tokenledger+faulty-" in the URL.
use strict;
use warnings FATAL => 'all';

use TokenLedger;

# As the backend would make it, but for the key.
sub make_table
{
	my ($node, $table) = @_;

	$node->safe_psql('store',
		"CREATE TABLE $table (LIKE sample INCLUDING DEFAULTS)");
	return;
}

return {
	name => 'postgres',
	library => 'postgres',
	exactly_once => 1,
	resolve => 1,
	inspect => 1,
	versions => [ 100, 103 ],
	waits => 3,
	seeds => 40,
	variants => [
		{ name => 'event', guarantee => 'per_event', asks => 1 },
		{
			name => 'batch',
			guarantee => 'per_batch',
			asks => 1,
			options => { faulty_guarantee => 'per_batch' }
		},
		{
			name => 'attempt',
			guarantee => 'per_attempt',
			asks => 1,
			options => { faulty_guarantee => 'per_attempt' }
		},
		{ name => 'nokey', guarantee => 'per_attempt', asks => 1 }
	],
	prepare => sub {
		my ($node) = @_;

		create_store($node, 'store');
		$node->safe_psql('conformance', 'SELECT 1');
		$node->safe_psql('store', <<EOC);
CREATE EXTENSION tokenledger;
CREATE TABLE sample (LIKE token_ledger.token_ledger_events INCLUDING DEFAULTS);
ALTER TABLE sample DROP ingest_xid, DROP ingest_seq;
EOC
	},
	place => sub {
		my ($node, $variant, $name) = @_;
		my $url = store_url($node, 'store', table => "public.$name");

		make_table($node, "public.$name") if $variant->{name} eq 'nokey';
		$url =~ s/^postgresql/postgres/;
		return $url;
	},
	watermark => sub {
		my ($node, $place) = @_;
		my ($table) = $place =~ /table=([a-z0-9_.]+)/;

		return split /\n/, $node->safe_psql('store', <<EOC);
SELECT (extract(epoch FROM complete_until) * 1000000)::bigint
FROM ${table}_watermark
EOC
	},
	ids => sub {
		my ($node, $place) = @_;
		my ($table) = $place =~ /table=([a-z0-9_.]+)/;

		return split /\n/,
		  $node->safe_psql('store', "SELECT event_id FROM $table");
	}
};
