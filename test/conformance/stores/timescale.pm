# Backend timescale: a hypertable with its unique key; the same, but pretending
# to know less, so that the core has to ask; and a hypertable without a key,
# where it really has to.
#
# The store is what TimescaleStore.pm finds: undef if that is none.
use strict;
use warnings FATAL => 'all';

use TimescaleStore;

my $server = timescale_store('conformance') or return undef;

# As the backend would make it, but for the key.
sub make_hypertable
{
	my ($table) = @_;

	$server->safe_psql(undef, <<EOC);
CREATE TABLE $table AS SELECT * FROM ${\ $server->table('sample') };
ALTER TABLE $table ALTER "timestamp" SET NOT NULL;
SELECT create_hypertable('$table', by_range('timestamp', INTERVAL '1 day'));
EOC
	return;
}

return {
	name => 'timescale',
	library => 'timescale',
	exactly_once => 1,
	resolve => 1,
	inspect => 1,
	versions => [ 100, 103 ],
	waits => 3,
	seeds => 12,
	variants => [
		{ name => 'event', guarantee => 'per_event', asks => 1 },
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

		$server->safe_psql(undef,
			'CREATE TABLE ' . $server->table('sample') . ' ('
			  . $node->safe_psql('conformance', <<'EOC') . ')');
SELECT string_agg(quote_ident(attname) || ' '
	|| format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
FROM pg_attribute
WHERE attrelid = 'token_ledger.token_ledger_events'::regclass AND attnum > 0
	AND NOT attisdropped AND attname NOT LIKE 'ingest%'
EOC
	},
	place => sub {
		my ($node, $variant, $name) = @_;
		my $table = $server->table($name);

		make_hypertable($table) if $variant->{name} eq 'nokey';
		return $server->url(table => $table);
	},
	watermark => sub {
		my ($node, $place, $name) = @_;

		return split /\n/,
		  $server->safe_psql(undef,
			'SELECT (extract(epoch FROM complete_until) * 1000000)::bigint'
			  . ' FROM ' . $server->table("${name}_watermark"));
	},
	ids => sub {
		my ($node, $place, $name) = @_;

		return split /\n/,
		  $server->safe_psql(undef,
			'SELECT event_id FROM ' . $server->table($name));
	}
};
