# Backend snowflake in both its modes, with the strict double, whose SQL an
# emulator executes.
# What may still be running is waited for before the table is asked: two
# seconds here.
#
# All targets of a wave fill tables of one schema.
use strict;
use warnings FATAL => 'all';

use Time::Local qw(timegm);

use SnowflakePeer;

my $peer;

# Microseconds since 1970.
sub microseconds
{
	my ($text) = @_;
	my ($year, $month, $day, $hour, $minute, $second, $rest) = $text =~
	  /^(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)(?:\.(\d+))?/
	  or die "no timestamp: $text";

	return timegm($second, $minute, $hour, $day, $month - 1, $year) * 1_000_000
	  + substr(($rest // '') . '000000', 0, 6);
}

return {
	name => 'snowflake',
	library => 'snowflake',
	exactly_once => 1,
	resolve => 1,
	inspect => 1,
	versions => [ 100, 103 ],
	own_state => 1,
	waits => 2,
	seeds => 6,
	variants => [
		{
			name => 'sql',
			guarantee => 'per_batch',
			asks => 1,
			options => { mode => 'sql', timeout => '60s' }
		},
		{
			name => 'streaming',
			guarantee => 'per_attempt',
			asks => 1,
			options => { mode => 'streaming', timeout => '60s' }
		}
	],
	prepare => sub {
		$peer = SnowflakePeer->new;
	},
	place => sub {
		my ($node, $variant, $name) = @_;

		return $peer->url(table => $name);
	},
	watermark => sub {
		my ($node, $place, $name) = @_;

		return map { microseconds($_->{complete_until}) }
		  $peer->rows("${name}_watermark");
	},
	ids => sub {
		my ($node, $place) = @_;
		my ($table) = $place =~ /table=([a-z0-9_]+)/;

		return map { $_->{event_id} } $peer->rows($table);
	}
};
