# What Snowflake does wrong at a step of a request: faults of test/peers/snowflake,
# drawn by lot.
package Torture::SnowflakeRequests;

use strict;
use warnings FATAL => 'all';

# Steps of a MERGE, and of appends to a channel.
my %calls = (
	sql => [qw(submit submit submit poll)],
	streaming => [qw(append append append status open)]);

# Nothing was done when these are said beforehand.
my %early = (
	sql => [
		[ 429, '390505' ],
		[ 408, '000630' ],
		[ 422, '000603' ],
		[ 422, '000625' ],
		[ 422, '002003' ],
		[ 401, '390303' ],
		[ 403, '390144' ],
		[413] ],
	streaming => [
		[ 429, '390505' ],
		[ 400, 'STALE_CONTINUATION_TOKEN_SEQUENCER' ],
		[ 400, 'ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER' ],
		[ 409, 'ERR_CHANNEL_MUST_BE_REOPENED' ],
		[ 400, 'STALE_PIPE_CACHE' ],
		[ 404, 'ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED' ],
		[ 401, '390303' ],
		[413] ]);

# With these nobody can say what was done.
my @uncertain = (200, 408, 500, 502, 503, 504);

my %plans = (
	drop => \&_drop,
	fail => \&_fail,
	fail_early => \&_fail_early,
	hang => \&_hang,
	kill => \&_kill);
my %more = (
	sql => {
		refuse => \&_refuse,
		take_long => \&_take_long,
		come_late => \&_come_late
	},
	streaming => { hold => \&_hold, invalidate => \&_invalidate });

# ahead: it happens to one of so many next requests.
sub new
{
	my ($class, $peer, $ahead) = @_;

	return bless { peer => $peer, ahead => $ahead }, $class;
}

sub kinds
{
	my ($self, $mode) = @_;

	return sort keys %plans, keys %{ $more{$mode} };
}

# Plans a fault for a target's table and mode.  false: nobody can be told.
sub plan
{
	my ($self, $what, $mode, $table) = @_;

	local @{$self}{qw(mode query)} =
	  ($mode, qq("\U$table\E"|/\U$table\E-STREAMING));
	return ($plans{$what} // $more{$mode}{$what})->($self);
}

# What lasts is undone, and whoever waits goes on.
sub relent
{
	my ($self) = @_;

	return defined eval
	{
		$self->{peer}->clear_faults;
		$self->{peer}->request('POST', '/_hold', 'false');
		1;
	};
}

sub _drop
{
	my ($self) = @_;

	return $self->_order(_point(), 'drop');
}

sub _hang
{
	my ($self) = @_;

	return $self->_order(_point(), 'hang');
}

sub _kill
{
	my ($self) = @_;

	return $self->_order(_point(), 'kill');
}

sub _fail
{
	my ($self) = @_;

	return $self->_order(_point(), 'answer',
		status => _one_of(@uncertain),
		rand() < 0.3 ? (retry_after => 1) : ());
}

sub _fail_early
{
	my ($self) = @_;
	my ($status, $code) = @{ _one_of(@{ $early{ $self->{mode} } }) };

	return $self->_order('before', 'answer',
		call => $self->{mode} eq 'sql' ? 'submit' : 'append',
		status => $status,
		defined $code ? (code => $code) : ());
}

# NB: a store that refuses an event over and over is believed.
sub _refuse
{
	my ($self) = @_;

	return $self->_order('before', 'answer',
		call => 'submit', status => 422, code => '100038');
}

sub _take_long
{
	my ($self) = @_;

	return $self->_order('before', 'async',
		call => 'submit', polls => 1 + int rand 8);
}

# Its connection breaks, and it begins later; or Snowflake gives it up.
sub _come_late
{
	my ($self) = @_;

	return $self->_order('before', 'late',
		call => 'submit', seconds => sprintf '%.2f', rand 3);
}

sub _invalidate
{
	my ($self) = @_;

	return $self->_order('before', 'invalidate');
}

# Nothing is committed.
sub _hold
{
	my ($self) = @_;

	return defined eval { $self->{peer}->request('POST', '/_hold', 'true'); 1 };
}

sub _order
{
	my ($self, $point, $action, %spec) = @_;

	return defined eval
	{
		$self->{peer}->fault(
			call => _one_of(@{ $calls{ $self->{mode} } }),
			query => $self->{query},
			point => $point,
			action => $action,
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
