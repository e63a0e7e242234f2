# What BigQuery does wrong at a step of a request: faults of test/peers/bigquery,
# drawn by lot.
package Torture::BigQueryRequests;

use strict;
use warnings FATAL => 'all';

# The calls of each mode.
my %calls = (
	committed => [qw(append append append create finalize)],
	pending => [qw(append append create finalize commit commit)],
	default => [qw(append append append query)],
	insertall => [qw(insertAll insertAll insertAll query)]);
my %is_rest = map { $_ => 1 } qw(insertAll query);

# Nothing was done when these are said beforehand: code and storage error of an
# append, within its answer or as its status; status and reason of REST.
my @early = (
	[ 3, 6 ], [ 5, 3 ], [ 6, 8 ], [ 11, 9 ],
	[7], [8], [16]);
my @early_rest = (
	[ 403, 'rateLimitExceeded' ],
	[ 403, 'quotaExceeded' ],
	[ 401, 'authError' ],
	[ 404, 'notFound' ],
	[ 413, 'uploadTooLarge' ],
	[ 429, 'rateLimitExceeded' ]);

# With these nobody can say what was done.
my @uncertain = (1, 4, 8, 10, 13, 14);
my @uncertain_rest = (
	[ 500, 'internalError' ],
	[ 502, '' ],
	[ 503, 'backendError' ],
	[ 504, '' ]);

my %plans = (
	drop => \&_drop,
	fail => \&_fail,
	fail_early => \&_fail_early,
	hang => \&_hang,
	kill => \&_kill,
	refuse => \&_refuse);

# ahead: it happens to one of so many next requests.
sub new
{
	my ($class, $peer, $ahead) = @_;

	return bless { peer => $peer, ahead => $ahead }, $class;
}

sub kinds { return sort keys %plans }

# Plans a fault for one of the calls of a mode.  false: nobody can be told.
sub plan
{
	my ($self, $what, $mode) = @_;
	my $call = _one_of(@{ $calls{$mode} });

	return $plans{$what}->($self, $call);
}

# Whoever waits goes on.
sub relent
{
	my ($self) = @_;

	return defined eval { $self->{peer}->clear_faults; 1 };
}

sub _drop
{
	my ($self, $call) = @_;

	return $self->_order($call, _point(), action => 'drop');
}

sub _hang
{
	my ($self, $call) = @_;

	return $self->_order($call, _point(), action => 'hang');
}

sub _kill
{
	my ($self, $call) = @_;

	return $self->_order($call, _point(), action => 'kill');
}

sub _fail
{
	my ($self, $call) = @_;
	my ($status, $reason) = @{ _one_of(@uncertain_rest) };

	return $self->_order($call, _point(),
		$is_rest{$call}
		? (action => 'http', status => $status, reason => $reason)
		: (action => 'status', code => _one_of(@uncertain)));
}

sub _fail_early
{
	my ($self, $call) = @_;

	if ($is_rest{$call})
	{
		my ($status, $reason) = @{ _one_of(@early_rest) };

		return $self->_order($call, 'before',
			action => 'http', status => $status, reason => $reason);
	}
	my ($code, $storage) = @{ _one_of(@early) };

	return $self->_order('append', 'before',
		action => _one_of(qw(in_band status)),
		code => $code,
		defined $storage ? (storage => $storage) : ());
}

# The whole request, for some of its rows.  NB: a store that refuses an event over
# and over is believed.
sub _refuse
{
	my ($self, $call) = @_;

	return $self->_fail($call) if $is_rest{$call};
	return $self->_order('append', 'before', action => 'in_band', code => 3);
}

sub _order
{
	my ($self, $call, $point, %spec) = @_;

	return defined eval
	{
		$self->{peer}->fault(
			call => $call,
			point => $point,
			nth => 1 + int rand $self->{ahead},
			%spec);
	};
}

sub _point
{
	return rand() < 0.5 ? 'before' : 'after';
}

sub _one_of
{
	return $_[ rand @_ ];
}

1;
