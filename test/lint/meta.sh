#!/usr/bin/env bash
# META.json is valid for PGXN, names files that exist, and has the version that
# the control file installs.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# shellcheck disable=SC2016	# Perl
SCAN='
	local $/;
	open(my $in, "<", "META.json") or die "META.json: $!\n";
	my $meta = eval { decode_json(<$in>) }
		or do { print "META.json:0: $@"; exit };
	my @need = qw(name abstract version maintainer license provides meta-spec);
	print "META.json:0: lacks $_\n" foreach grep { !exists $meta->{$_} } @need;
	my $provided = $meta->{provides}{tokenledger} // {};
	print "META.json:0: no such file: $_\n"
		foreach grep { !-e } map { $provided->{$_} // "(none)" } qw(file docfile);
	open(my $control, "<", "tokenledger.control") or exit;
	my ($installs) = <$control> =~ /^default_version\s*=\s*\x27(.*)\x27/m;
	foreach my $version ($meta->{version}, $provided->{version})
	{
		print "META.json:0: version $version, control file: $installs\n"
			if ($version // "") !~ /^\Q$installs\E\.\d+$/;
	}'

check()
{
	need perl
	perl -MJSON::PP -e "$SCAN" 2>&1 || true
}

# sample VERSION FILE
sample()
{
	echo "default_version = '1.3'" >tokenledger.control
	touch README.md
	cat >META.json <<EOF_META
{"name": "tokenledger", "abstract": "a", "version": "$1", "maintainer": "m",
 "license": "postgresql", "meta-spec": {"version": "1.0.0"},
 "provides": {"tokenledger": {"version": "$1", "file": "$2",
  "docfile": "README.md"}}}
EOF_META
}

bad_version() { sample 1.2.0 README.md; }
bad_file() { sample 1.3.0 nowhere.sql; }
bad_json() { sample 1.3.0 README.md && echo '{' >META.json; }
bad_missing() { :; }
good_meta() { sample 1.3.1 README.md; }

lint "$@"
