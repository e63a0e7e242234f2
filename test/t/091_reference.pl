# doc/reference.md says what the catalog says: between its markers it has what
# doc/reference.sql writes.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $doc = "$ENV{TOKENLEDGER_TREE}/doc";
my $node = PostgreSQL::Test::Cluster->new('reference');

$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'tokenledger'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tokenledger');

my $result = $node->psql(
	'postgres', undef,
	stdout => \my $written,
	stderr => \my $complaints,
	extra_params => [ '-XAtq', '-f', "$doc/reference.sql" ]);

is($result, 0, 'reference.sql runs') or diag($complaints);
is($complaints, '', 'and has nothing to say');
cmp_ok(scalar lines($written), '>', 200, 'the catalog has something to tell');

# Line by line, so that a failure shows which.
my @documented = lines(between_markers(slurp_file("$doc/reference.md")));
my @catalog = lines($written);
my %documented = map { $_ => 1 } @documented;
my %catalog = map { $_ => 1 } @catalog;

is_deeply([ grep { !$documented{$_} } @catalog ],
	[], 'the reference lacks nothing');
is_deeply([ grep { !$catalog{$_} } @documented ],
	[], 'the reference has nothing that the catalog lacks');
is_deeply(\@documented, \@catalog, 'all of it in order');
done_testing();

sub lines
{
	my ($text) = @_;

	return grep { $_ ne '' } map { s/\s+$//r } split /\n/, $text;
}

sub between_markers
{
	my ($text) = @_;
	my ($part) = $text =~ /<!-- catalog -->\n(.*?)<!-- \/catalog -->/s;

	die 'reference.md lacks the markers <!-- catalog -->' unless defined $part;
	return $part;
}
