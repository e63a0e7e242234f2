# Replay and reconcile with the strict double of BigQuery: what was tampered with
# is found, named, and mended; what has expired is passed over.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use BigQueryPeer;
use ReconcileTest;
use TokenLedger;

plan skip_all => bigquery_hindrance() if bigquery_hindrance();

my $peer = BigQueryPeer->new;
my $node = reconcile_node('60s');
my @targets = qw(committed pending);

set_targets($node, join ' ',
	map { "$_=" . $peer->url(mode => $_, table => $_, expiration => 0) }
	  @targets);
foreach my $target (@targets)
{
	reconciled_ok(
		$node, $target,
		forwarded_ok => sub {
			bigquery_forwarded_ok($node, 'app', $target, $peer,
				table => $target, @_);
		},
		tamper => sub { tamper($target, @_) },
		remove => sub { $peer->delete_rows($target, @_) },
		rate => 600,
		kills => [300]);
}
identity_ok($node, 'app');
set_targets($node, 'short=' . $peer->url(table => 'short', expiration => 30));
passed_over_ok($node, 'short', sub { $peer->delete_rows('short', @_) });
$node->stop;
done_testing();

sub tamper
{
	my ($table, $gone, $also_gone, $other, $twice) = @_;

	$peer->delete_rows($table, $gone, $also_gone, $other);
	insert_by_hand($table, event($other), '0.5');
	insert_by_hand($table, event($twice), 'NULL');
	insert_by_hand($table, <<"EOC", 'NULL');
SELECT '$NOBODY' AS event_id, timestamptz '2026-01-01 02:00Z' AS "timestamp",
	'p' AS provider, 'm' AS model, 0 AS input_tokens, 5 AS output_tokens,
	5 AS total_tokens, NULL::numeric AS cost_usd
EOC
	return;
}

# Somebody else inserts a row; cost: instead of the event's.
sub insert_by_hand
{
	my ($table, $event, $cost) = @_;
	my $row = $node->safe_psql('app', <<"EOC");
SELECT json_build_object('insertId', gen_random_uuid(), 'json',
	json_build_object('event_id', event_id, 'timestamp',
		extract(epoch FROM "timestamp")::text, 'provider', provider, 'model',
		model, 'input_tokens', input_tokens::text, 'output_tokens',
		output_tokens::text, 'total_tokens', total_tokens::text, 'cost_usd',
		coalesce($cost, cost_usd)::text))
FROM ($event) e
EOC
	my $answer = $peer->request('POST',
		"/bigquery/v2/projects/p/datasets/d/tables/$table/insertAll",
		{ rows => [ JSON::PP::decode_json($row) ] });

	die "not inserted: " . JSON::PP::encode_json($answer) . "\n"
	  if $answer->{insertErrors};
	return;
}

sub event
{
	my ($id) = @_;

	return "SELECT * FROM $TokenLedger::EVENTS WHERE event_id = '$id'";
}
