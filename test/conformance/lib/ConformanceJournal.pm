
=pod

=head1 NAME

ConformanceJournal - judges what a backend was asked to do

=head1 SYNOPSIS

  my @calls = journal_read($file);
  my @found = journal_violations(\@calls, resolve => 1, batch_rows => 20);

=head1 DESCRIPTION

The journal (see test/modules/faulty/journal.c) has every call of a backend's
callbacks and what was answered.  From the answers follows which events may be
in the store; from that, which calls the contract allows.  The rules are those
of tokenledger_backend.h, and each is one function below.

=cut

package ConformanceJournal;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

our @EXPORT = qw(journal_read journal_violations);

use constant { FRESH => 0, SAME_AGAIN => 1, OVERLAP => 2 };
use constant { PER_ATTEMPT => 0, PER_BATCH => 1, PER_EVENT => 2 };

# A list of hashes, one a line.
sub journal_read
{
	my ($file) = @_;
	my @lines;

	open my $handle, '<', $file or return;
	while (my $line = <$handle>)
	{
		chomp $line;
		my ($what, $callback, $lane, $n, $pid, $epoch, $ms, @facts) =
		  split /\t/, $line;
		my %entry = (
			what => $what,
			callback => $callback,
			lane => $lane,
			n => $n,
			pid => $pid,
			epoch => $epoch,
			ms => $ms);

		foreach my $fact (@facts)
		{
			my ($key, $value) = split /=/, $fact, 2;

			$entry{$key} = $value;
		}
		foreach my $list (qw(ids landed refused))
		{
			$entry{$list} = [ split /,/, $entry{$list} ]
			  if defined $entry{$list};
		}
		push @lines, \%entry;
	}
	close $handle;
	return @lines;
}

# Texts, one for each call that the contract does not allow.
# resolve: the backend can be asked; batch_rows: the limit of a batch.
sub journal_violations
{
	my ($journal, %rules) = @_;
	my %state = (
		rules => \%rules,
		found => [],
		may => {},       # event => token under which it may have landed
		acked => {},     # event => process that was told that it landed
		tokens => {},    # token => what is known of it
		lanes => {});

	foreach my $line (@$journal)
	{
		my $lane = $state{lanes}{ $line->{lane} } //= { allowed => [''] };

		_check_owner(\%state, $lane, $line);
		_note($lane, $line) if $line->{what} eq 'note';
		_begin(\%state, $lane, $line) if $line->{what} eq 'begin';
		_end(\%state, $lane, $line) if $line->{what} eq 'end';
	}
	return @{ $state{found} };
}

sub _violation
{
	my ($state, $line, $text) = @_;

	push @{ $state->{found} },
	  "$line->{callback} $line->{n} of lane $line->{lane}"
	  . " (pid $line->{pid}, epoch $line->{epoch}): $text";
	return;
}

# Each process has a higher epoch than the one before, which is never heard of
# again.
sub _check_owner
{
	my ($state, $lane, $line) = @_;

	if (defined $lane->{pid} && $lane->{pid} != $line->{pid})
	{
		_violation($state, $line, "epoch is not above $lane->{epoch}")
		  if $line->{epoch} <= $lane->{epoch};
		_violation($state, $line, 'its lane had been taken over')
		  if $lane->{gone}{ $line->{pid} };
		$lane->{gone}{ $lane->{pid} } = 1;
		$lane->{taken_over} = 1;
	}
	_violation($state, $line, 'its epoch has changed')
	  if defined $lane->{pid}
	  && $lane->{pid} == $line->{pid}
	  && $lane->{epoch} != $line->{epoch};
	@$lane{qw(pid epoch)} = @$line{qw(pid epoch)};
	return;
}

sub _begin
{
	my ($state, $lane, $line) = @_;

	_call_without_end($state, $lane);
	$lane->{open} = $line;
	if ($line->{callback} eq 'send')
	{
		_check_batch($state, $line);
		_check_token($state, $lane, $line);
		_check_history($state, $line);
		_check_guarantee($state, $line);
		_check_acknowledged($state, $line);
		_check_state($state, $lane, $line) if defined $line->{state};
		$lane->{taken_over} = 0;
	}
	return;
}

# The process died, or the callback threw: everything may have landed.
sub _call_without_end
{
	my ($state, $lane) = @_;
	my $open = delete $lane->{open};

	return unless $open && $open->{callback} eq 'send';
	$lane->{outcome} = 'none';
	$state->{may}{$_} = $open->{token} foreach @{ $open->{ids} };
	return;
}

sub _end
{
	my ($state, $lane, $line) = @_;
	my $open = delete $lane->{open};

	return if $line->{callback} eq 'close';
	if (!$open || $open->{callback} ne $line->{callback})
	{
		_violation($state, $line, 'it ends, but had not begun');
		return;
	}
	$lane->{outcome} = $line->{outcome} if $open->{callback} eq 'send';
	_learn($state, $open, $line, $line->{outcome})
	  if $open->{callback} eq 'send';
	_learn_resolved($state, $open, $line)
	  if $open->{callback} eq 'resolve' && $line->{outcome} eq 'ok';
	return;
}

# What an answer says of each event of the batch.
sub _learn
{
	my ($state, $open, $line, $outcome) = @_;
	my %landed = map { $_ => 1 } @{ $line->{landed} };
	my %refused = map { $_ => 1 } @{ $line->{refused} };

	foreach my $id (@{ $open->{ids} })
	{
		if (!_unsettled($state, $outcome)
			&& ($landed{$id} || ($outcome eq 'ok' && !$refused{$id})))
		{
			$state->{acked}{$id} = $open->{pid};
			$state->{may}{$id} = $open->{token};
		}
		elsif ($outcome eq 'unknown' && !$refused{$id})
		{
			$state->{may}{$id} = $open->{token};
		}
		else
		{
			delete $state->{may}{$id};
			delete $state->{acked}{$id};
		}
	}
	return;
}

# While the outcome of a batch is unknown it stays as it is, marks or not, if
# the store can be asked what it holds.
sub _unsettled
{
	my ($state, $outcome) = @_;

	return $outcome eq 'unknown' && $state->{rules}{resolve};
}

# NB: the token is used up: the store may have logged it without the rows.
sub _learn_resolved
{
	my ($state, $open, $line) = @_;

	_learn($state, $open, $line, 'retry');
	$state->{tokens}{ $open->{token} }{resolved} = 1;
	return;
}

sub _check_batch
{
	my ($state, $line) = @_;
	my %seen;

	$seen{$_}++ foreach @{ $line->{ids} };
	_violation($state, $line, 'the batch is empty') if !%seen;
	_violation($state, $line, 'an event is in the batch twice')
	  if keys %seen != @{ $line->{ids} };
	_violation($state, $line, 'the batch is too large')
	  if @{ $line->{ids} } > $state->{rules}{batch_rows};
	return;
}

# One token, one list of events; a resolved one is gone.  Attempts count up, but
# from 1 again where the part was read again.
sub _check_token
{
	my ($state, $lane, $line) = @_;
	my $known = $state->{tokens}{ $line->{token} } //=
	  { first_ms => $line->{ms}, pid => $line->{pid}, attempt => 0 };
	my $ids = join ',', @{ $line->{ids} };
	my $next = $known->{pid} == $line->{pid} ? $known->{attempt} + 1 : 1;

	_violation($state, $line, 'its token was for other events')
	  if defined $known->{ids} && $known->{ids} ne $ids;
	_violation($state, $line, 'its token had been given up by resolve')
	  if $known->{resolved};
	_violation($state, $line, "attempt is $line->{attempt}, not $next")
	  if $line->{attempt} != $next
	  && ($line->{attempt} != 1 || $line->{history} == FRESH);
	$known->{ids} = $ids;
	$known->{attempt} = $line->{attempt};
	$known->{pid} = $line->{pid};
	return;
}

sub _check_history
{
	my ($state, $line) = @_;

	foreach my $id (@{ $line->{ids} })
	{
		my $token = $state->{may}{$id} // next;

		if ($line->{history} == FRESH)
		{
			_violation($state, $line, "is fresh, but $id may have landed");
			return;
		}
		if ($line->{history} == SAME_AGAIN && $token ne $line->{token})
		{
			_violation($state, $line,
				"is the same again, but $id may have landed under $token");
			return;
		}
	}
	return;
}

# What the guarantee does not cover is resolved before it is sent again.
sub _check_guarantee
{
	my ($state, $line) = @_;
	my $age = $line->{ms} - $state->{tokens}{ $line->{token} }{first_ms};

	return
	  if !$state->{rules}{resolve}
	  || $line->{guarantee} == PER_EVENT
	  || $line->{history} == FRESH;
	_violation($state, $line, 'had to be resolved first')
	  if $line->{guarantee} == PER_ATTEMPT || $line->{history} == OVERLAP;
	_violation($state, $line, "its token is $age ms old")
	  if $line->{guarantee} == PER_BATCH && $age > $line->{valid} + 1;
	return;
}

# Who has heard that an event landed does not send it again; another process
# may not have heard it.
sub _check_acknowledged
{
	my ($state, $line) = @_;

	foreach my $id (@{ $line->{ids} })
	{
		next if ($state->{acked}{$id} // 0) != $line->{pid};
		_violation($state, $line, "$id had been acknowledged");
		return;
	}
	return;
}

sub _note
{
	my ($lane, $line) = @_;

	$lane->{lost} = 1 if $line->{lost};
	$lane->{set} = $line->{set} if defined $line->{set};
	if (defined $line->{saved})
	{
		$lane->{allowed} = [ $line->{saved} ];
		delete $lane->{set};
	}
	return;
}

# A saved state is there at once, a set one as soon as its batch is
# acknowledged, and otherwise never: its own process sees the one from before,
# as a successor does.  Whether it outlives a call that throws is not said.
sub _check_state
{
	my ($state, $lane, $line) = @_;
	my $set = delete $lane->{set};
	my $outcome = $lane->{outcome} // 'none';
	my @allowed = @{ $lane->{allowed} };

	@allowed = ($set)
	  if defined $set && !$lane->{taken_over} && $outcome eq 'ok';
	push @allowed, $set
	  if defined $set && $outcome eq ($lane->{taken_over} ? 'ok' : 'none');
	_violation($state, $line,
		"its state is '$line->{state}', not '" . join("' or '", @allowed) . "'")
	  if !grep { $_ eq $line->{state} } @allowed;
	$lane->{allowed} = [ $line->{state} ]
	  if $lane->{taken_over} || $outcome eq 'ok';
	return;
}

1;
