
=pod

=head1 NAME

Conformance - runs a backend through what may happen to it

=head1 SYNOPSIS

  use Conformance;

  conformance_run(conformance_store('postgres'));

=head1 DESCRIPTION

See test/conformance/README.md.  A store is a hash that tells how to reach the
store, and what it holds; scenarios are in ConformanceScenarios.pm.

=cut

package Conformance;

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);	# sleep-ok: for polls with a deadline

use ConformanceJournal;
use ConformanceScenarios;
use TokenLedger;

our @EXPORT = qw(conformance_run conformance_store);

our $BATCH_ROWS = 20;
our $EVENTS_FIRST = 50;
our $EVENTS_LATER = 25;

# Names of targets that have not caught up; nothing if there are none.
our $LAGGING = "SELECT string_agg(target, ' ' ORDER BY target)"
  . ' FROM token_ledger.status WHERE lag_events IS DISTINCT FROM 0';

# The store that the file of this name describes.
sub conformance_store
{
	my ($name) = @_;
	my $file = dirname(__FILE__) . "/../stores/$name.pm";
	my $store = do $file;

	die "$file: " . ($@ || $!) unless ref $store eq 'HASH';
	return $store;
}

# Everything, as tests of the caller.
sub conformance_run
{
	my ($store, %params) = @_;
	my $node = _start($store);
	my $seeds = $params{seeds} // $store->{seeds} // 12;

	$store->{prepare}->($node) if $store->{prepare};
	foreach my $variant (@{ $store->{variants} })
	{
		_wave($node, $store, "named_$variant->{name}",
			map { { variant => $variant, scenario => $_ } }
			  conformance_scenarios($store, $variant));
	}
	_wave($node, $store, 'mix', _per_variant($store, $seeds,
		\&conformance_random));
	_crash_wave($node, $store, 'crash', _per_variant($store,
		scalar(@{ $store->{variants} }), \&conformance_crash));
	_refuse_watermark($node, $store) if !$store->{watermark};
	_stop_while_waiting($node, $store);
	_judge_log($node);
	return;
}

# Seeds, dealt to the variants.
sub _per_variant
{
	my ($store, $n, $make) = @_;
	my @variants = @{ $store->{variants} };

	return map {
		my $variant = $variants[ $_ % @variants ];
		{ variant => $variant, scenario => $make->($store, $variant, $_) }
	} 1 .. $n;
}

sub _start
{
	my ($store) = @_;

	return ledger_node(
		"conformance_$store->{name}",
		databases => ['conformance'],
		conf => <<EOC);
shared_preload_libraries = 'tokenledger, faulty'
faulty.inner = '$store->{library}'
max_worker_processes = 80
max_connections = 120
tokenledger.max_lanes = 64
tokenledger.poll_interval = '200ms'
tokenledger.flush_interval = '10ms'
log_min_messages = warning

EOC
}

# All the targets of a wave work side by side on the events of one database.
sub _wave
{
	my ($node, $store, $database, @targets) = @_;

	_set_up($node, $store, $database, $_) foreach @targets;
	create_ledger($node, $database);
	_configure($node, $database, @targets);
	_wait_for_lanes($node, $database, scalar @targets);
	_hook($node, 'before', @targets);
	_feed($node, $database);
	_commit_late($node, $database);
	_hook($node, 'during', @targets);
	_finish($node, $store, $database, @targets);
	return;
}

# As a wave, but the server goes down again and again: nobody can insert.
sub _crash_wave
{
	my ($node, $store, $database, @targets) = @_;

	_set_up($node, $store, $database, $_) foreach @targets;
	create_ledger($node, $database);
	_feed($node, $database);
	_configure($node, $database, @targets);
	_finish($node, $store, $database, @targets);
	_commit_late($node, $database);
	return;
}

sub _hook
{
	my ($node, $hook, @targets) = @_;

	foreach my $target (grep { $_->{scenario}{$hook} } @targets)
	{
		$target->{scenario}{$hook}->($node, $target->{database}, $target);
	}
	return;
}

sub _finish
{
	my ($node, $store, $database, @targets) = @_;

	_keep_traffic($node, $database);
	wait_until($node, $database, $LAGGING, '',
		"$database: everything has arrived");
	_hook($node, 'after', @targets);
	_judge_wave($node, $store, $database, @targets);
	identity_ok($node, $database, "$database: the identity holds");
	_configure($node, $database);
	return;
}

# Events go on arriving, one at a time: a store that refuses the last event of
# all has shown nothing yet that it takes.  Ever more rarely, as a lane that asks
# for each event may take longer than that.  The server may be down.
sub _keep_traffic
{
	my ($node, $database) = @_;
	my $i = 2 * ($EVENTS_FIRST + $EVENTS_LATER);
	my ($pause, $next) = (1, 0);

	conformance_wait(sub {
			return 1 if psql_output($node, $database, $LAGGING) eq '';
			return 0 if time < $next;
			psql_output($node, $database, _insert_one($i++));
			$next = time + ($pause *= 1.2);
			return 0;
		});
	return;
}

sub _set_up
{
	my ($node, $store, $database, $target) = @_;
	my ($variant, $scenario) = @$target{qw(variant scenario)};

	$target->{name} = "$variant->{name}_$scenario->{name}";
	$target->{database} = $database;
	$target->{plan} = $node->basedir . "/$database.$target->{name}.plan";
	$target->{journal} = $node->basedir . "/$database.$target->{name}.journal";
	$target->{poison} = [ map { _event_id($_) } @{ $scenario->{poison} // [] } ];
	conformance_plan($target, @{ $scenario->{plan} });
	$target->{table} = "${database}_$target->{name}";
	$target->{place} =
	  $store->{place}->($node, $variant, $target->{table});
	return;
}

sub _event_id
{
	my ($i) = @_;
	my $hex = md5_hex("event $i");

	return join '-', unpack 'A8 A4 A4 A4 A12', $hex;
}

# Replaces the settings: these targets, or none.
sub _configure
{
	my ($node, $database, @targets) = @_;
	my $list = join ' ', map { _entry($database, $_) } @targets;

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET tokenledger.databases = '$database'");
	set_targets($node, $list);
	return;
}

sub _entry
{
	my ($database, $target) = @_;
	my ($variant, $scenario) = @$target{qw(variant scenario)};
	my %options = (
		batch_rows => $BATCH_ROWS,
		claim_rows => 2 * $BATCH_ROWS,
		retry_min => '5ms',
		retry_max => '50ms',
		timeout => '10s',
		faulty_plan => $target->{plan},
		faulty_journal => $target->{journal},
		%{ $variant->{options} // {} },
		%{ $scenario->{options} // {} });
	my $separator = $target->{place} =~ /\?/ ? '&' : '?';

	return "$database/$target->{name}=tokenledger+faulty-$target->{place}"
	  . $separator
	  . join('&', map { "$_=$options{$_}" } sort keys %options);
}

sub _wait_for_lanes
{
	my ($node, $database, $n) = @_;

	wait_until($node, $database,
		'SELECT count(*) FROM token_ledger.target WHERE window_to IS NOT NULL',
		$n, "$database: the lanes have begun");
	return;
}

# Events of one transaction, of several, of one that will commit late, and of
# one that does not commit.
sub _feed
{
	my ($node, $database) = @_;
	my $next = $EVENTS_FIRST + 1;
	my $late = $next + $EVENTS_LATER;

	$node->safe_psql($database, 'BEGIN; '
		  . _insert_one($late)
		  . "PREPARE TRANSACTION 'late $database'");
	$node->safe_psql($database, 'BEGIN; '
		  . _insert_one($late + 1)
		  . 'ROLLBACK');
	insert_events($node, $database, $EVENTS_FIRST);
	insert_events($node, $database, $EVENTS_LATER,
		first => $next,
		per_transaction => 3);
	return;
}

sub _commit_late
{
	my ($node, $database) = @_;

	$node->safe_psql($database, "COMMIT PREPARED 'late $database'");
	return;
}

sub _insert_one
{
	my ($i) = @_;

	return 'INSERT INTO token_ledger.token_ledger_events'
	  . " (event_id, provider, model) VALUES (md5('event $i')::uuid, 'p', 'm'); ";
}

# What must hold at the end of each scenario.
sub _judge_wave
{
	my ($node, $store, $database, @targets) = @_;
	my @ledger = split /\n/,
	  $node->safe_psql($database,
		'SELECT event_id FROM token_ledger.token_ledger_events');
	my %dead;

	foreach my $line (
		split /\n/,
		$node->safe_psql(
			$database, 'SELECT t.name, d.event_id FROM token_ledger.dead_letter d'
			  . ' JOIN token_ledger.target t ON t.id = d.target_id'))
	{
		my ($name, $id) = split /\|/, $line;

		push @{ $dead{$name} }, $id;
	}
	foreach my $target (@targets)
	{
		my $name = "$database/$target->{name}";

		_judge_calls($store, $target, $name);
		is( join("\n", sort @{ $dead{ $target->{name} } // [] }),
			join("\n", sort @{ $target->{poison} }),
			"$name: what was refused, and nothing else, was set aside");
		_judge_contents($node, $store, $target, $name, @ledger)
		  if $store->{ids};
	}
	return;
}

# Whether the store still has what it acknowledged may be asked at any time.
sub _is_look_up
{
	my ($line) = @_;

	return $line->{callback} eq 'resolve'
	  && ($line->{token} // '') =~ /^[0-]+$/;
}

sub _judge_calls
{
	my ($store, $target, $name) = @_;
	my @journal = journal_read($target->{journal});
	my @found = journal_violations(
		\@journal,
		resolve => $store->{resolve},
		batch_rows => $BATCH_ROWS);

	is(join("\n", @found), '', "$name: every call was allowed")
	  || _show($target);
	is(_not_happened($target, \@journal), '', "$name: the faults happened");
	return unless $target->{scenario}{expect};
	is($target->{scenario}{expect}
		  ->($target, grep { !_is_look_up($_) } @journal),
		'', "$name: it went as expected")
	  || _show($target);
	return;
}

# Faults that every run of the scenario must meet.
sub _not_happened
{
	my ($target, $journal) = @_;
	my %seen = map { ($_->{fault} // '') => 1 } @$journal;

	return '' if $target->{scenario}{random};
	return join ' ', grep { !$seen{$_} }
	  map { (split / /, $_)[2] } @{ $target->{scenario}{plan} };
}

sub _judge_contents
{
	my ($node, $store, $target, $name, @ledger) = @_;
	my %poison = map { $_ => 1 } @{ $target->{poison} };
	my %times;
	my @wrong;

	$times{$_}++
	  foreach $store->{ids}->($node, $target->{place}, $target->{table});
	foreach my $id (grep { !$poison{$_} } @ledger)
	{
		my $n = delete $times{$id} // 0;

		push @wrong, "missing $id" if $n == 0;
		push @wrong, "doubled $id" if $n > 1 && $store->{exactly_once};
	}
	push @wrong, "extra $_" foreach sort keys %times;
	is(join("\n", @wrong), '', "$name: the store holds what was committed")
	  || _show($target);
	return;
}

sub _show
{
	my ($target) = @_;

	diag("plan:\n" . slurp_file($target->{plan}));
	diag("journal:");
	foreach my $line (split /\n/, slurp_file($target->{journal}))
	{
		$line =~ s/([0-9a-f]{8})-[-0-9a-f]{27}/$1/g;
		diag(substr $line, 0, 400);
	}
	return;
}

# A store without a place for a watermark says so, and sends nothing.
sub _refuse_watermark
{
	my ($node, $store) = @_;
	my $target = {
		variant => $store->{variants}[0],
		scenario => {
			name => 'no_watermark',
			plan => [],
			options => { watermark => 'on' }
		}
	};

  SKIP:
	{
		skip 'nobody has said how to read the watermark', 1
		  if !exists $store->{watermark};
		_set_up($node, $store, 'conformance', $target);
		_configure($node, 'conformance', $target);
		wait_until(
			$node,
			'conformance',
			'SELECT state, last_error FROM token_ledger.status'
			  . " WHERE target = '$target->{name}'",
			qr/^invalid\|backend "\S+" has no place for a watermark/,
			'watermark=on is refused, as the backend has none');
		_configure($node, 'conformance');
	}
	return;
}

# A lane that waits ends at once when it is told to, in the wrapper's wait and
# in those of the backend itself.
sub _stop_while_waiting
{
	my ($node, $store) = @_;
	my ($hangs, $stalls) = conformance_hangs($store);
	my @targets = _let_wait($node, $store, 'waiting', @$hangs);

	$node->safe_psql('postgres', 'CREATE DATABASE other');
	_within($node, 5, 'another database is dropped while lanes wait',
		'DROP DATABASE other');
	_within($node, 5, 'the database is dropped while its lanes wait',
		'DROP DATABASE waiting');

	@targets = _let_wait($node, $store, 'stalling', @$stalls);
	_configure($node, 'stalling', $targets[0]);
	wait_until($node, 'stalling',
		'SELECT count(*) FROM token_ledger.lanes WHERE pid IS NOT NULL',
		'1', 'lanes end while they wait when their targets go',
		timeout => 5);
	_configure($node, 'stalling', @targets);
	_fast_shutdown($node);
	return;
}

sub _let_wait
{
	my ($node, $store, $database, @scenarios) = @_;
	my $variant = $store->{variants}[0];
	my @targets =
	  map { { variant => $variant, scenario => $_ } } @scenarios;

	_set_up($node, $store, $database, $_) foreach @targets;
	create_ledger($node, $database);
	_configure($node, $database, @targets);
	insert_events($node, $database, 10);
	_wait_for_faults(@targets);
	return @targets;
}

sub _wait_for_faults
{
	my (@targets) = @_;

	foreach my $target (@targets)
	{
		my $fault = (split / /, $target->{scenario}{plan}[0])[2];

		ok(conformance_wait(sub {
				scalar grep { ($_->{fault} // '') eq $fault }
				  journal_read($target->{journal});
			}),
			"$target->{name}: the lane waits");
	}
	return;
}

sub _within
{
	my ($node, $seconds, $name, $sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres', "SET statement_timeout = '${seconds}s';\n$sql",
		stdout => \$out,
		stderr => \$err);
	is($err, '', $name);
	return;
}

sub _fast_shutdown
{
	my ($node) = @_;
	my $start = time;

	$node->stop('fast');
	cmp_ok(time - $start, '<', 15, 'a fast shutdown does not wait for stores');
	return;
}

# No assertion failed, and no process died but those that were to be killed.
sub _judge_log
{
	my ($node) = @_;
	my @bad = grep { /PANIC|TRAP|terminated by signal (?!9)/ }
	  split /\n/, slurp_file($node->logfile);

	is(join("\n", @bad), '', 'nothing crashed that was not killed');
	return;
}

1;
