
=pod

=head1 NAME

ProtobufEvents - events that backend kafka wrote as protocol buffers

=head1 SYNOPSIS

  use ProtobufEvents;

  plan skip_all => protobuf_hindrance() if protobuf_hindrance();
  my @json = protobuf_to_json(map { $_->{value} } $broker->messages('events'));

=head1 DESCRIPTION

Google's decoder, within protoc-c, reads them by event.proto alone.

=cut

package ProtobufEvents;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Temp ();
use FindBin;
use IPC::Run ();

our @EXPORT = qw(protobuf_hindrance protobuf_to_json protobuf_fields);

my $proto = "$FindBin::RealBin/../../backends/kafka/event.proto";

# In JSON they are nested, and not in quotes.
my %is_json = map { $_ => 1 } qw(metadata metadata_extra);
my %escaped = (n => "\n", r => "\r", t => "\t");

=pod

=over

=item protobuf_hindrance()

Why nothing can be decoded here; undef if it can.

=cut

sub protobuf_hindrance
{
	return system('protoc-c --version >/dev/null 2>&1') == 0 ? undef
	  : 'no protoc-c (protobuf-c-compiler)';
}

=pod

=item protobuf_to_json(@values)

Each event as an object that format=json would have, in their order.

=cut

sub protobuf_to_json
{
	my (@values) = @_;
	my $dir = File::Temp->newdir('protobuf_XXXX', TMPDIR => 1);
	my ($in, $out, $err) = ('', '', '');
	my (@events, $event);

	$in .= "\x0a" . _varint(length) . $_ foreach @values;
	_spew("$dir/all.proto", <<'EOC');
syntax = "proto3";
import "event.proto";
message All { repeated tokenledger.Event event = 1; }
EOC
	IPC::Run::run(
		[
			'protoc-c', '--decode=All',
			"--proto_path=$dir", '--proto_path=' . $proto =~ s|/[^/]*$||r,
			'all.proto'
		],
		'<', \$in, '>', \$out, '2>', \$err) or die "protoc-c: $err";
	foreach my $line (split /\n/, $out)
	{
		if ($line eq 'event {')
		{
			$event = [];
		}
		elsif ($line eq '}')
		{
			push @events, '{' . join(',', @$event) . '}';
		}
		elsif ($line =~ /^  ([a-z_]+): (.*)$/)
		{
			push @$event, "\"$1\":" . _value($1, $2);
		}
		else
		{
			die "protoc-c writes \"$line\"";	# an unknown field has a number
		}
	}
	return @events;
}

sub _value
{
	my ($name, $text) = @_;
	my %special = (nan => 'NaN', inf => 'Infinity', '-inf' => '-Infinity');

	return _time($text) if $name eq 'timestamp';
	return '"' . ($special{$text} // return $text) . '"'
	  unless $text =~ s/^"(.*)"$/$1/;
	$text =~ s/\\([0-7]{3}|.)/length $1 == 3 ? chr oct $1 : $escaped{$1} \/\/ $1/ge;
	return $text if $is_json{$name};
	$text =~ s/(["\\\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;
	return "\"$text\"";
}

# Of microseconds.  NB: those before 1970 count from the second before.
sub _time
{
	my ($value) = @_;
	my $micros = $value % 1_000_000;
	my ($s, $m, $h, $day, $month, $year) =
	  gmtime(($value - $micros) / 1_000_000);

	return sprintf '"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ"', $year + 1900,
	  $month + 1, $day, $h, $m, $s, $micros;
}

sub _varint
{
	my ($value) = @_;

	return $value < 0x80 ? chr $value
	  : chr($value & 0x7f | 0x80) . _varint($value >> 7);
}

=pod

=item protobuf_fields()

The names that event.proto has.

=back

=cut

sub protobuf_fields
{
	open my $in, '<', $proto or die "$proto: $!";
	return map { /^  optional \w+ (\w+) = \d+;$/ ? $1 : () } <$in>;
}

sub _spew
{
	my ($file, $text) = @_;

	open my $out, '>', $file or die "could not write $file: $!";
	print {$out} $text;
	close $out or die "could not write $file: $!";
	return;
}

1;
