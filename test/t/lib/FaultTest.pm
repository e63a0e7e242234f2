
=pod

=head1 NAME

FaultTest - a ledger that forwards to a peer where things go wrong

=head1 SYNOPSIS

  my $peer = SnowflakePeer->new;
  my $node = fault_test('snowflake_faults', $peer, \&snowflake_forwarded_ok);
  begin('lost');
  $peer->fault(query => '^MERGE', point => 'after', action => 'drop');
  insert_some(10);
  arrives('lost', 'an answer that is lost');

=head1 DESCRIPTION

One node and one peer a test; each case is a target with a table of its own, which
has its name, so that what the peer did for it can be told from its journal.

=cut

package FaultTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

use TokenLedger;

our @EXPORT = qw(arrives begin fault_test insert_some lane_killed_ok);

my ($node, $peer, $forwarded_ok, %always);
my $next = 1;	# event to be inserted

=pod

=over

=item fault_test($name, $peer, $forwarded_ok, %options)

Makes the node and returns it.  $forwarded_ok compares the ledger with the peer;
options are those of every target.

=cut

sub fault_test
{
	my ($name) = @_;

	(undef, $peer, $forwarded_ok, %always) = @_;
	$node = ledger_node($name, conf => <<'EOC');
tokenledger.flush_interval = 20ms
tokenledger.poll_interval = 300ms
tokenledger.retry_min = 20ms
tokenledger.retry_max = 500ms
tokenledger.timeout = 30s
restart_after_crash = on
EOC
	return $node;
}

=pod

=item insert_some($n)

The next n events; all have a cost that the store can hold.

=item begin($table, %options)

A target that has forwarded something already; there are no faults.  Returns how
many entries the peer's journal has then.

=item arrives($table, $name, $where)

Waits until each event is there once.  where: those that are to be there; default:
all.

=cut

sub insert_some
{
	my ($n) = @_;

	insert_events($node, 'app', $n, first => $next,
		set => { cost_usd => 'i * 0.00000125' });
	$next += $n;
	return;
}

sub begin
{
	my ($table, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$peer->clear_faults;
	set_targets($node,
		"$table=" . $peer->url(table => $table, %always, %options));
	insert_some(10);
	caught_up_ok($node, 'app', $table, name => "$table begins");
	return scalar(my @entries = $peer->journal);
}

sub arrives
{
	my ($table, $name, $where) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return $forwarded_ok->(
		$node, 'app', $table, $peer,
		table => $table,
		where => $where // 'true',
		name => "$name: each event once");
}

=pod

=item lane_killed_ok($table, $when, %fault)

Kills the lane's process while the peer hangs at a fault, which takes the whole
server down, and waits until it is up again and has no fault any more.

=cut

sub lane_killed_ok
{
	my ($table, $when, %fault) = @_;
	my $patience = $PostgreSQL::Test::Utils::timeout_default;
	my $pid;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$peer->fault(%fault, action => 'hang');
	insert_some(25);
	ok($peer->await($patience,
			sub { scalar grep { $_->{hanging} } $peer->faults }),
		"$table: the lane waits, $when");
	$pid = (lane_pids($node, 'app', $table))[0];
	kill 'KILL', $pid;
	ok($peer->await($patience, sub { !kill 0, $pid }),
		"$table: lane $pid is killed");
	$peer->clear_faults;
	ok($peer->await($patience,
			sub { psql_output($node, 'app', 'SELECT 1') eq '1' }),
		"$table: the server is up again");
	return arrives($table, "$table: killed $when");
}

=pod

=back

=cut

1;
