# The settings table of README.md, between the markers, and pg_settings are the
# same: names, defaults, and what it takes to change one.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = "$ENV{TOKENLEDGER_TREE}/README.md";

plan skip_all => 'no README.md yet' unless -e $readme;

my $node = PostgreSQL::Test::Cluster->new('settings');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'tokenledger'");
$node->start;

my $rows = $node->safe_psql('postgres', <<'EOC');
SELECT name,
	CASE WHEN current_setting(name) = '' THEN '(empty)'
		 ELSE current_setting(name) END,
	CASE context WHEN 'sighup' THEN 'reload' WHEN 'postmaster' THEN 'restart'
		 ELSE context END
FROM pg_settings WHERE name LIKE 'tokenledger.%' ORDER BY name
EOC
my %server = map { (split /\|/, $_, 2) } split /\n/, $rows;
my %documented = settings_table(slurp_file($readme));

cmp_ok(scalar keys %server, '>', 0, 'the server has settings');
is_deeply(\%documented, \%server, 'the README documents the settings');
done_testing();

# "| `name` | `default` | reload | ... |" => name => "default|reload".
sub settings_table
{
	my ($text) = @_;
	my ($table) = $text =~ /<!-- settings -->(.*?)<!-- \/settings -->/s;
	my %found;

	die 'README.md lacks <!-- settings --> or <!-- /settings -->' unless defined $table;
	foreach my $line (grep { /^\|\s*`tokenledger\./ } split /\n/, $table)
	{
		my (undef, @cells) = map { s/^[\s`]+|[\s`]+$//gr } split /\|/, $line;

		$found{ $cells[0] } = "$cells[1]|$cells[2]";
	}
	return %found;
}
