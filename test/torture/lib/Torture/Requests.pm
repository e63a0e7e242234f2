# What a server of ClickHouse does wrong at a step of a request: faults of
# test/peers/clickhouse, drawn by lot.
package Torture::Requests;

use strict;
use warnings FATAL => 'all';

# Nothing is written when these are said before the batch was read.
my @early = (
	[ 60, 'Table t does not exist' ],
	[ 202, 'Too many simultaneous queries' ],
	[ 252, 'Too many parts (300)' ],
	[ 516, 'Authentication failed' ],
	[ 745, 'Server is overloaded' ]);

# With these nobody can say what is there.
my @uncertain = (
	[ 159, 'Timeout exceeded' ],
	[ 241, 'Query memory limit exceeded' ],
	[ 243, 'Not enough space' ],
	[ 319, 'Unknown status of insert' ],
	[ 394, 'Query was cancelled' ],
	[ 425, 'System error' ],
	[ 999, 'Coordination error' ]);

my %plans = (
	drop => \&_drop,
	hang => \&_hang,
	slow_down => \&_slow_down,
	fail_early => \&_fail_early,
	fail => \&_fail,
	answer_foreign => \&_answer_foreign,
	miscount => \&_miscount,
	refuse => \&_refuse,
	kill => \&_kill);

# ahead: it happens to one of so many next requests.
sub new
{
	my ($class, $peer, $ahead) = @_;

	return bless { peer => $peer, ahead => $ahead }, $class;
}

sub kinds { return sort keys %plans }

# Plans a fault; query: for requests that match.  false: nobody can be told.
sub plan
{
	my ($self, $what, $query) = @_;

	local $self->{query} = $query;
	return $plans{$what}->($self);
}

sub _kill
{
	my ($self) = @_;

	return $self->_order(
		_one_of(qw(before body commit committed answer)), 'kill',
		kind => _mostly_insert(),
		nth => 1 + int rand $self->{ahead} + 2);
}

sub _drop
{
	my ($self) = @_;

	return $self->_order(
		_one_of(qw(before body commit committed answer)),
		_one_of(qw(rst fin)),
		kind => _mostly_insert(),
		bytes => int(10 ** rand 4));
}

sub _hang
{
	my ($self) = @_;

	return $self->_order(_one_of(qw(before body commit committed answer)),
		'hang', kind => _mostly_insert());
}

sub _slow_down
{
	my ($self) = @_;

	return $self->_order(
		_one_of(qw(before body commit committed)), 'slow',
		kind => _mostly_insert(),
		seconds => sprintf '%.2f', rand() ** 2 * 4);
}

sub _fail_early
{
	my ($self) = @_;
	my ($code, $text) = @{ _one_of(@early) };

	return $self->_order('before', 'error',
		code => $code, text => "$text. (NAME)");
}

sub _fail
{
	my ($self) = @_;
	my ($code, $text) = @{ _one_of(@uncertain) };
	my $action = _one_of(qw(error error ok_exception));

	return $self->_order(
		_one_of(qw(commit committed)), $action,
		code => $code,
		text => "$text. (NAME)",
		$action eq 'ok_exception' ? (tagged => int rand 2) : ());
}

sub _answer_foreign
{
	my ($self) = @_;
	my @patience = (headers => { 'Retry-After' => '1' });
	my ($status, $points, @more) = @{
		_one_of(
			[ 429, ['before'], @patience ],
			[ 413, ['before'] ],
			[ 307, ['before'] ],
			[ 404, ['before'] ],
			[ 503, [qw(before commit committed)], @patience ],
			[ 502, [qw(before commit committed)] ],
			[ 500, [qw(before commit committed)] ],
			[ 200, [qw(before commit committed)] ])
	};

	return $self->_order(_one_of(@$points), 'foreign',
		status => $status, text => '<p>a page</p>', @more);
}

sub _miscount
{
	my ($self) = @_;

	return $self->_order('committed', 'rows', rows => int rand 3);
}

sub _refuse
{
	my ($self) = @_;

	return $self->_order('commit', 'error',
		code => 117, text => 'Incorrect data. (NAME)');
}

sub _order
{
	my ($self, $point, $action, %spec) = @_;
	my $planned = eval
	{
		$self->{peer}->fault(
			point => $point,
			action => $action,
			nth => 1 + int rand $self->{ahead},
			defined $self->{query} ? (query => $self->{query}) : (),
			%spec);
	};

	return defined $planned;
}

sub _mostly_insert
{
	return rand() < 0.7 ? 'insert' : 'any';
}

sub _one_of
{
	return $_[ rand @_ ];
}

1;
