
=pod

=head1 NAME

ConformanceScenarios - what may happen to a backend

=head1 DESCRIPTION

A scenario is a hash: name; plan, the lines of test/modules/faulty/plan.c;
poison, numbers of events that the store refuses; options of the URL; before,
during and after, called with (node, database, target) before and after the events
are inserted, and when all have arrived; expect, called with (target, journal): returns what was not as
expected; random, if not each fault of the plan need happen.

=cut

package ConformanceScenarios;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Test::More;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use ConformanceJournal;

our @EXPORT = qw(
  conformance_scenarios
  conformance_random
  conformance_crash
  conformance_hangs
  conformance_plan
  conformance_wait
);

# Random plans end after so many calls.
our $RANDOM_CALLS = 60;

sub conformance_scenarios
{
	my ($store, $variant) = @_;
	my @scenarios = (
		_plain(), _uncertain(), _refusals($store), _errors($store),
		_take_over($store));

	push @scenarios, _states() if !$store->{own_state};
	push @scenarios, _resolving()
	  if $store->{resolve} && $variant->{guarantee} eq 'per_attempt';
	push @scenarios, _remote() if $store->{inspect};
	push @scenarios, _versions($store) if $store->{versions};
	push @scenarios, _watermark($store)
	  if $store->{watermark} && $variant == $store->{variants}[0];
	return @scenarios if !$store->{only};
	return grep { $_->{name} =~ $store->{only} } @scenarios;
}

sub _plain
{
	return (
		{ name => 'fresh', plan => [], expect => \&_expect_fresh },
		{
			name => 'retry',
			plan => ['send 1-2 retry'],
			expect => \&_expect_retry
		},
		{ name => 'twice', plan => ['send * twice'] },
		{ name => 'split', plan => ['send 1-40 split 7'] },
		{
			name => 'split_one',
			plan => ['send * split_poison'],
			poison => [ 3, 50 ]
		},
	);
}

# The answer is lost, before or after the events landed.
sub _uncertain
{
	return (
		map(+{
				name => $_,
				plan => ["send 2 $_"],
				expect => \&_expect_asked_or_covered
			},
			qw(unknown_before unknown_after unknown_late)),
		{ name => 'unknown_part', plan => ['send 2 unknown_part 40'] },
		{
			name => 'unknown_often',
			plan => [
				'send 1 unknown_after',
				'send 2-3 unknown_before',
				'send 4 unknown_late',
				'send 5 retry',
				'send 6 unknown_part 70'
			],
			random => 1
		},
		{ name => 'marks_unknown', plan => ['send 1 marks_unknown'] },
		{ name => 'marks_retry', plan => ['send 1 marks_retry'] },
	);
}

sub _refusals
{
	my ($store) = @_;
	my @poison = (1, 7, 8, 40, 70);

	return (
		map(+{ name => $_, plan => ["send * $_"], poison => \@poison },
			qw(refuse_named refuse_named_none refuse_unnamed)),
		map(+{
				name => $_,
				plan => ["send 1-3 $_"]
			},
			qw(refuse_all refuse_all_named)),
		{
			name => 'refuse_uncertain',
			plan => [ 'send * refuse_unnamed', 'send 1 unknown_after' ],
			poison => [5]
		},
	);
}

sub _errors
{
	my ($store) = @_;
	my @waits = map(+{ name => "stop_at_$_", plan => ["send 1 stop_at $_"] },
		1 .. $store->{waits});

	push @waits,
	  map(+{ name => "timeout_at_$_", plan => ["send 1 timeout_at $_"] },
		1 .. $store->{waits});
	return (
		{ name => 'throw', plan => [ 'send 1 throw', 'send 2 throw_after' ] },
		{ name => 'open', plan => [ 'open 1 retry', 'open 2 throw' ] },
		@waits);
}

sub _states
{
	return (
		{
			name => 'state',
			plan => [
				'send 1 retry',
				'send 3 exit_after',
				'send 4 save_exit',
				'send 5 exit',
				'send 6 throw',
				'send 7 save',
				'send 9 unknown_after'
			],
			options => { faulty_state => 'on' },
		},
		{
			name => 'suspect',
			plan => ['send 2 hold'],
			options => { faulty_state => 'on' },
			during => \&_make_state_suspect,
			expect => \&_expect_suspect
		});
}

sub _take_over
{
	my ($store) = @_;

	return (
		{
			name => 'exit',
			plan => [ 'send 1 exit_after', 'send 3 exit' ],
			expect => \&_expect_take_overs
		},
		{
			name => 'lost',
			plan => ['send 2 hold'],
			random => 1,
			during => \&_steal_lane,
			expect => \&_expect_one_take_over
		},
		{
			name => 'overlap',
			plan => [],
			before => \&_make_everything_suspect,
			expect => \&_expect_overlap
		});
}

sub _resolving
{
	return (
		{
			name => 'resolve',
			plan => [
				'send 1 unknown_after', 'resolve 1 retry',
				'resolve 2 throw', 'resolve 3 exit',
				'resolve 4 unknown_before'
			]
		},
		{
			name => 'resolve_late',
			plan => [ 'send 1-3 unknown_late', 'resolve 2 retry' ]
		});
}

sub _remote
{
	return (
		{
			name => 'inspect',
			plan =>
			  [ 'inspect 1 retry', 'inspect 2 throw', 'inspect 3 exit' ]
		},
		{
			name => 'other_version',
			plan => [ 'send 2 schema', 'inspect * version 101' ],
			random => 1
		},
		{
			name => 'new_version',
			plan => [
				'send 2 schema', 'send 3 marks_unknown',
				'send 4 schema', 'inspect 1-2 version 101'
			],
			random => 1
		});
}

# The table is made, goes back to its oldest version and to the newest again,
# and not one of the steps goes well at once.
sub _versions
{
	my ($store) = @_;
	my ($oldest, $newest) = @{ $store->{versions} };
	my $change = sub {
		my ($node, $database, $target) = @_;

		_change_version($node, $database, $target, @$_)
		  foreach [ 'migrate', $newest ],
		  [ 'rollback', $oldest ],
		  [ 'migrate', $newest ];
		return;
	};

	return {
		name => 'versions',
		plan => [
			'migrate 1 exit_after',
			'migrate 2 exit',
			'migrate 4 unknown_before',
			'migrate 5 unknown_after',
			'migrate 7 throw',
			'migrate 8 throw_after',
			'migrate 10 retry',
			'migrate 11 exit_after'
		],
		random => 1,
		during => $change
	};
}

# Events arrive meanwhile.
sub _change_version
{
	my ($node, $database, $target, $kind, $version) = @_;
	my $name = $target->{name};
	my ($code, $out, $err) = $node->psql($database,
			"SELECT token_ledger.$kind('$name', $version) AS job \\gset\n"
		  . 'INSERT INTO token_ledger.token_ledger_events'
		  . " (provider, model) SELECT 'p', '$kind'"
		  . ' FROM generate_series(1, 30);'
		  . ' CALL token_ledger.wait_for_job(:job)');

	is($code, 0, "$database/$name: $kind to $version") || diag($err);
	return;
}

# The store is told up to when its events are complete, whatever became of the
# first attempts; an idle lane makes one every ten seconds.
sub _watermark
{
	my ($store) = @_;

	return {
		name => 'watermark',
		plan => [
			'send 2 unknown_after',
			'watermark 1 exit_after',
			'watermark 2 retry',
			'watermark 3 exit'
		],
		options => { watermark => 'on' },
		after => sub { _wait_for_watermark($store, @_) },
		expect => \&_expect_watermark
	};
}

# Later than everything that was committed; and what the lane has told.  NB: the
# first one makes its place.
sub _wait_for_watermark
{
	my ($store, $node, $database, $target) = @_;
	my $name = "$database/$target->{name}";
	my $committed = $node->safe_psql($database,
		'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint');
	my @there;

	ok(conformance_wait(sub {
				@there = eval {
					$store->{watermark}->($node, @$target{qw(place table)});
				};
				@there == 1
				  && $there[0] > $committed
				  && _watermark_taken($target);
			}),
		"$name: the store is told that its events are complete")
	  || diag("committed $committed, there: @there");
	ok((grep { ($_->{until} // '') eq ($there[0] // '-') }
			  journal_read($target->{journal})),
		"$name: and has what it was told")
	  || diag("there: @there");
	return;
}

# Thus after all that was to go wrong.
sub _watermark_taken
{
	my ($target) = @_;

	return scalar grep { ($_->{outcome} // '') eq 'ok' }
	  grep { $_->{callback} eq 'watermark' } journal_read($target->{journal});
}

# Never back, over all owners of the lane.
sub _expect_watermark
{
	my ($target, @journal) = @_;
	my $last = 0;

	foreach my $until (map { $_->{until} // () } @journal)
	{
		return "after $last it was told $until" if $until < $last;
		$last = $until;
	}
	return '';
}

# Expectations about the order of calls.

sub _sends
{
	return grep { $_->{what} eq 'begin' && $_->{callback} eq 'send' } @_;
}

sub _expect_fresh
{
	my ($target, @journal) = @_;
	my @odd = grep { $_->{history} != 0 || $_->{attempt} != 1 } _sends(@journal);

	return @odd ? 'a send was not fresh' : '';
}

sub _expect_retry
{
	my ($target, @journal) = @_;
	my @three = (_sends(@journal))[ 0 .. 2 ];
	my %tokens = map { $_->{token} => 1 } @three;
	my $attempts = join ' ', map { "$_->{attempt}/$_->{history}" } @three;

	return 'the token has changed' if keys %tokens != 1;
	return $attempts eq '1/0 2/0 3/0' ? '' : "attempts were $attempts";
}

# The next call after an unknown outcome is the same again, or a question.
sub _expect_asked_or_covered
{
	my ($target, @journal) = @_;
	my @calls = grep { $_->{what} eq 'begin' && $_->{callback} ne 'close' }
	  @journal;
	my ($i) = grep { $calls[$_]{fault} =~ /^unknown/ } 0 .. $#calls;
	my ($call, $next) = @calls[ $i, $i + 1 ];

	return 'a question changed the token'
	  if $next->{token} ne $call->{token};
	return '' if $next->{callback} eq 'resolve' && $call->{guarantee} != 2;
	return '' if $next->{callback} eq 'send' && $next->{history} == 1;
	return "after it came $next->{callback} with history $next->{history}";
}

sub _expect_suspect
{
	my ($target, @journal) = @_;
	my @sends = _sends(@journal);

	my ($first) = grep { $_->{pid} != $sends[0]{pid} && defined $_->{history} }
	  @journal;

	return "after it the history was $first->{history}"
	  if $first->{history} != 2;
	return 'no state was suspect' if !grep { $_->{suspect} } @sends;
	return $sends[-1]{suspect} ? 'a new state was suspect' : '';
}

sub _expect_take_overs
{
	my ($target, @journal) = @_;
	my %pids = map { $_->{pid} => 1 } @journal;

	return keys %pids == 3 ? '' : keys(%pids) . ' processes';
}

sub _expect_one_take_over
{
	my ($target, @journal) = @_;
	my %pids = map { $_->{pid} => 1 } @journal;

	return keys %pids == 2 ? '' : keys(%pids) . ' processes';
}

sub _expect_overlap
{
	my ($target, @journal) = @_;
	my ($first) = grep { $_->{what} eq 'begin' && defined $_->{history} }
	  @journal;

	return "the first call had history $first->{history}"
	  if $first->{history} != 2;
	return "the first call was $first->{callback}"
	  if ($first->{callback} eq 'send') !=
	  ($first->{guarantee} == 2 || !$target->{variant}{asks});
	return '';
}

# What a fail-over leaves behind.

sub _make_everything_suspect
{
	my ($node, $database, $target) = @_;

	$node->safe_psql($database,
			'UPDATE token_ledger.target SET suspect_to = pg_current_snapshot()'
		  . " WHERE name = '$target->{name}'");
	return;
}

sub _make_state_suspect
{
	my ($node, $database, $target) = @_;

	_wait_for_hold($target);
	$node->safe_psql($database,
			'UPDATE token_ledger.lane l SET state_timeline = 0'
		  . ' FROM token_ledger.target t WHERE t.id = l.target_id'
		  . " AND t.name = '$target->{name}';"
		  . ' SELECT pg_terminate_backend(pid) FROM token_ledger.lanes'
		  . " WHERE target = '$target->{name}'");
	return;
}

# Another process owns the lane while its batch is on the way.
sub _steal_lane
{
	my ($node, $database, $target) = @_;

	_wait_for_hold($target);
	$node->safe_psql($database,
			'UPDATE token_ledger.lane l SET epoch = epoch + 1'
		  . ' FROM token_ledger.target t WHERE t.id = l.target_id'
		  . " AND t.name = '$target->{name}'");
	conformance_plan($target);
	return;
}

sub _wait_for_hold
{
	my ($target) = @_;

	ok(conformance_wait(sub {
			scalar grep { ($_->{fault} // '') eq 'hold' }
			  journal_read($target->{journal});
		}),
		"$target->{database}/$target->{name}: the answer is held");
	return;
}

# Random plans: the same seed gives the same plan on every machine.

{
	my $state;

	sub _seed { $state = $_[0] * 2654435761 % 4294967296; return; }

	sub _pick
	{
		$state = ($state * 1664525 + 1013904223) % 4294967296;
		return $_[ int($state / 65536) % @_ ];
	}
}

sub conformance_random
{
	my ($store, $variant, $seed) = @_;
	my @faults = (
		qw(retry unknown_before unknown_after unknown_late twice marks_unknown
		  marks_retry throw throw_after schema),
		'unknown_part 30', 'unknown_part 80', 'split 9', 'split 2',
		map { ("stop_at $_", "timeout_at $_") } 1 .. $store->{waits});
	my @refusals =
	  qw(refuse_named refuse_named_none refuse_unnamed split_poison);
	my @plan;
	my @poison;

	_seed($seed);
	@poison = map { $_ * 11 + $seed % 5 } 0 .. _pick(0 .. 4);
	push @plan, 'send * ' . _pick(@refusals);
	foreach my $n (1 .. $RANDOM_CALLS)
	{
		push @plan, "send $n " . _pick(@faults) if _pick(0 .. 9) < 5;
		push @plan, "resolve $n " . _pick(qw(retry throw unknown_before))
		  if _pick(0 .. 9) < 2;
	}
	push @plan, 'send ' . _pick(1 .. 20) . ' ' . _pick(qw(exit exit_after))
	  foreach 1 .. 3;
	push @plan, 'resolve ' . _pick(1 .. 5) . ' exit';
	return {
		name => "seed_$seed",
		plan => \@plan,
		poison => [ grep { $_ > 0 } @poison ],
		random => 1
	};
}

# Whole servers: each kill -9 takes every other process with it.
sub conformance_crash
{
	my ($store, $variant, $seed) = @_;
	my @kills = qw(kill kill_after);

	return {
		name => "crash_$seed",
		plan => [
			'migrate 2 ' . $kills[ $seed % 2 ],
			'send ' . ($seed % 3 + 1) . ' kill_after',
			'send ' . ($seed % 3 + 2) . ' kill',
			'resolve 2 kill'
		],
		random => 1
	};
}

# The second hangs inside the backend, if that waits at all.
sub conformance_hangs
{
	my ($store) = @_;

	return (
		[
			{ name => 'hang', plan => ['send 1 hang'] },
			{ name => 'hang_after', plan => ['send 1 hang_after'] }
		],
		[
			{ name => 'hang', plan => ['send 1 hang'] },
			$store->{waits} > 0
			? { name => 'stall', plan => ['send 1 stall'] }
			: ()
		]);
}

# Writes the plan; also while lanes read it.
sub conformance_plan
{
	my ($target, @lines) = @_;
	my $file = $target->{plan};

	open my $handle, '>', "$file.new" or die "$file.new: $!";
	print $handle map { "$_\n" } (map { "poison $_" } @{ $target->{poison} }),
	  @lines;
	close $handle;
	rename "$file.new", $file or die "$file: $!";
	return;
}

# Polls until the condition holds; false when time is up.
sub conformance_wait
{
	my ($condition) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($condition->())
	{
		return 0 if time >= $deadline;
		usleep(50_000);		# sleep-ok: interval of a poll with a deadline
	}
	return 1;
}

1;
