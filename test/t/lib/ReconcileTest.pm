
=pod

=head1 NAME

ReconcileTest - what was tampered with in a store is found, named, and mended

=head1 DESCRIPTION

The store's events are the first 1,500 of insert_events(), in three hours.

=cut

package ReconcileTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Test::More;

use TokenLedger;

our @EXPORT =
  qw($NOBODY event_id job_like passed_over_ok reconcile_node reconciled_ok);

# An event that is in no ledger.
our $NOBODY = '00000000-0000-0000-0000-000000000001';

=pod

=over

=item reconcile_node($timeout)

A node with these events; timeout: of its targets.

=cut

sub reconcile_node
{
	my ($timeout) = @_;
	my $node = ledger_node('reconcile', conf => <<"EOC");
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 200ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 200ms
tokenledger.timeout = $timeout
EOC

	insert_events($node, 'app', 1500, per_transaction => 50);
	return $node;
}

=pod

=item job_like($node, $call, $message, $name)

Runs the job that a function requests, checks what it says at its end, and returns
its number.

=item event_id($node, $i)

Of event number i.

=cut

sub job_like
{
	my ($node, $call, $message, $name) = @_;
	my $job = $node->safe_psql('app', "SELECT token_ledger.$call");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like(psql_output($node, 'app', "CALL token_ledger.wait_for_job($job, '5 min')"),
		$message, $name);
	return $job;
}

sub event_id
{
	my ($node, $i) = @_;

	return $node->safe_psql('app', "SELECT md5('event $i')::uuid");
}

=pod

=item reconciled_ok($node, $target, %store)

The whole of it, for one target.  forwarded_ok: a function that is given params of
forwarded_ok() besides those of the target.  tamper: a function that is given the
ids of events 100, 101, 700 and 701: it removes the first two, gives the third a cost
of 0.5, and puts in the fourth again and $NOBODY at 2 o'clock of that day, with 5
tokens.  remove: a function that removes events.  rate: of the replay; kills: after
so many events of it the lane's process is killed.

=cut

sub reconciled_ok
{
	my ($node, $target, %store) = @_;
	my @ids = map { event_id($node, $_) } 100, 101, 700, 701;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$store{forwarded_ok}->();
	job_like($node, "reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 0 differ$/,
		"$target: the store has what it should, dead letters aside");
	$store{tamper}->(@ids);
	_found($node, $target, @ids);
	$store{remove}->(@ids[ 2, 3 ], $NOBODY);
	job_like($node, "reconcile('$target', NULL, NULL, true)",
		qr/: 4 events missing, 0 extra, 0 different, 0 doubled; 4 sent again$/,
		"$target: and mended");
	job_like($node, "reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 0 differ$/,
		"$target: nothing differs any more");
	$store{forwarded_ok}->();
	return _sent_again_and_killed($node, $target, %store);
}

sub _found
{
	my ($node, $target, @ids) = @_;
	my $job = job_like($node,
		"reconcile('$target', NULL, NULL)",
		qr/^3 hours compared, 3 differ: 2 events missing, 1 extra, 1 different, 1 doubled$/,
		"$target: what was tampered with is found");

	is( $node->safe_psql('app', <<"EOC"),
SELECT to_char(hour AT TIME ZONE 'UTC', 'HH24'), missing, extra, different,
	doubled FROM token_ledger.reconcile_hours WHERE job = $job ORDER BY hour
EOC
		"00|2|0|0|0\n01|0|0|1|1\n02|0|1|0|0",
		"$target: by hour");
	is( $node->safe_psql('app', <<"EOC"),
SELECT kind, event_id, store_cost FROM token_ledger.reconcile_findings
WHERE job = $job ORDER BY kind COLLATE "C", event_id = '$ids[1]'
EOC
		join("\n",
			"different|$ids[2]|0.50000000",
			"doubled|$ids[3]|0.00087625",
			"extra|$NOBODY|0.00000000",
			"missing|$ids[0]|",
			"missing|$ids[1]|"),
		"$target: and named");
	return;
}

# By a lane that is killed in between: every event is there once.
sub _sent_again_and_killed
{
	my ($node, $target, %store) = @_;

	$store{remove}->(
		split /\n/,
		$node->safe_psql('app',
			"SELECT event_id FROM $TokenLedger::EVENTS"
			  . ' WHERE input_tokens % 3 = 0'));
	my $job = $node->safe_psql('app',
		"SELECT token_ledger.replay('$target', NULL, NULL, $store{rate})");

	foreach my $done (@{ $store{kills} })
	{
		wait_until($node, 'app',
			"SELECT done >= $done FROM token_ledger.jobs WHERE id = $job",
			't', "$target: $done events are sent");
		my ($pid) = lane_pids($node, 'app', $target);

		kill 'KILL', $pid if defined $pid;
	}
	wait_until($node, 'app',
		"SELECT state, done = total FROM token_ledger.jobs WHERE id = $job",
		'done|t', "$target: the replay is done");
	return $store{forwarded_ok}
	  ->(name => "$target: every event is there once");
}

=pod

=item passed_over_ok($node, $target, $remove)

The target's table keeps 30 days, so not the events of January: they are no
difference; one of today that is removed is.

=cut

sub passed_over_ok
{
	my ($node, $target, $remove) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	insert_events($node, 'app', 50, first => 5001,
		set => { timestamp => "now() - interval '5 hours' + i * interval '1 s'",
			cost_usd => '0.01' });
	caught_up_ok($node, 'app', $target);
	job_like($node,
		"reconcile('$target', NULL, NULL)",
		qr/^\d+ hours compared, 0 differ; \d+ hours are no longer kept$/,
		'what has expired is not missing');
	$remove->(event_id($node, 5007));
	return job_like($node,
		"reconcile('$target', now() - interval '1 day', NULL, true)",
		qr/ 1 differ: 1 events missing, .* 1 sent again/,
		'what has not is');
}

=pod

=back

=cut

1;
