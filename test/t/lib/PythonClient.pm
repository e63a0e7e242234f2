
=pod

=head1 NAME

PythonClient - runs the scripts of test/peers/python_client

=head1 SYNOPSIS

  use PythonClient;

  plan skip_all => python_hindrance() if python_hindrance();
  my @lines = run_python('write.py', [ client_url($node, 'app'), $base ]);

=head1 DESCRIPTION

The client is in the Python that TOKENLEDGER_CLIENT_PYTHON names; test/run
provides it for a test that uses this module.  Each script says in its head what
it does and prints.

=cut

package PythonClient;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  python_hindrance
  client_url
  run_python
  try_python
  start_python
  said_by
  answers_ok
);

my $python = $ENV{TOKENLEDGER_CLIENT_PYTHON} // '';
my $scripts = "$ENV{TOKENLEDGER_TREE}/test/peers/python_client";

=pod

=over

=item python_hindrance()

Why the client cannot be run here; empty if it can.

=cut

sub python_hindrance
{
	return '' if $python ne '' && -x $python;
	return 'no Python client: '
	  . ($ENV{TOKENLEDGER_CLIENT_PYTHON_MISSING}
		  || 'TOKENLEDGER_CLIENT_PYTHON is not set');
}

=pod

=item client_url($node, $database, %params)

What the client is configured with.  user: default, the superuser.  options:
settings of the session by name.

=cut

sub client_url
{
	my ($node, $database, %params) = @_;
	my $user = $params{user} // getpwuid($>);
	my $options = $params{options} // {};
	my $set = join '%20', map { "-c%20$_%3D$options->{$_}" } sort keys %$options;

	return "postgresql://$user\@/$database?host="
	  . $node->host
	  . '&port='
	  . $node->port
	  . ($set eq '' ? '' : "&options=$set");
}

=pod

=item try_python($script, \@arguments, %environment)

Runs a script, or what follows an option of Python such as -c.  Returns its status,
standard output and standard error.

=cut

sub try_python
{
	my ($script, $arguments, %environment) = @_;
	my ($out, $err) = ('', '');

	local @ENV{ keys %environment } = values %environment;
	local $ENV{PYTHONIOENCODING} = 'utf-8';
	IPC::Run::run([ _command($script), @$arguments ],
		'<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default // 180));
	return ($? >> 8, $out, $err);
}

=pod

=item start_python($script, \@arguments, $file)

Runs a script in the background that ends when its input does: by finish() of
what this returns.  Its output goes into the file.

=cut

sub start_python
{
	my ($script, $arguments, $file) = @_;
	my $in = '';

	return IPC::Run::start(
		[ _command($script), @$arguments ],
		'<', \$in, '>', $file, '2>&1',
		IPC::Run::timeout(
			3 * ($PostgreSQL::Test::Utils::timeout_default // 180)));
}

# -B: nothing is written beside the scripts.  -I: the extension's library, where
# this directory has it, is not taken for the client.
sub _command
{
	my ($script) = @_;

	return ($python, '-B', '-W', 'ignore',
		$script =~ /^-/ ? ('-I', $script) : "$scripts/$script");
}

=pod

=item run_python($script, \@arguments, %environment)

The same for what has to succeed.  Returns the lines of its output.

=cut

sub run_python
{
	my ($script, $arguments, %environment) = @_;
	my ($status, $out, $err) = try_python($script, $arguments, %environment);

	die "$script failed with status $status:\n$out$err" if $status != 0;
	note($err) if $err ne '';
	return split /\n/, $out;
}

=pod

=item said_by(@lines)

What write.py printed, by path.

=cut

sub said_by
{
	my @said = map { decode_json($_) } @_;

	return { map { $_->{path} => $_->{said} } @said };
}

=pod

=item answers_ok($what, @lines)

One check for each line of ask.py.

=back

=cut

sub answers_ok
{
	my ($what, @lines) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(scalar @lines, '>', 0, "$what: there are answers");
	foreach my $answer (map { decode_json($_) } @lines)
	{
		is($answer->{got}, $answer->{expected},
			"$what: $answer->{question}");
	}
	return;
}

1;
