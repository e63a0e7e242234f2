#!/usr/bin/env bash
# Every ereport() that raises has an errcode: users and tests tell errors apart
# by SQLSTATE.  A message ends without a period.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A call's text ends at its closing parenthesis, strings and all.
SCAN='
	my $call = qr/(\((?:[^()"\x27]++|"(?:[^"\\]|\\.)*"|\x27(?:[^\x27\\]|\\.)*\x27|(?1))*\))/;
	for my $file (@ARGV)
	{
		open(my $in, "<", $file) or die "$file: $!";
		local $/;
		my $text = <$in>;
		# Comments may hold an apostrophe; lines are kept.
		$text =~ s{/\*.*?\*/}{ (my $c = $&) =~ s/[^\n]//g; $c }gse;
		while ($text =~ /\bereport$call/g)
		{
			my $body = $1;
			my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
			print "$file:$line: ereport without errcode\n"
				if $body =~ /^\(\s*(ERROR|FATAL|PANIC)\b/
				&& $body !~ /\berrcode/;
			print "$file:$line: message ends with a period\n"
				if $body =~ /\berrmsg\(\s*"(?:[^"\\]|\\.)*(?<!\.)\."\s*[,)]/;
		}
	}'

check()
{
	local list

	need perl
	mapfile -t list < <(files 'src/*.c' 'src/*.h' 'backends/*.c' \
		'backends/*.h')
	[ ${#list[@]} -eq 0 ] || perl -e "$SCAN" "${list[@]}"
}

sample() { mkdir -p src && printf '%s\n' "$@" >src/a.c; }

bad_no_errcode() { sample 'ereport(ERROR,' '	(errmsg("it (is) bad")));'; }
bad_fatal() { sample 'ereport(FATAL, errmsg("bad"));'; }
bad_second()
{
	sample 'ereport(ERROR, (errcode(X), errmsg("a)")));' \
		"/* don't */ ereport(ERROR, (errmsg(\"b\")));"
}
bad_period() { sample 'ereport(LOG, (errmsg("ended.")));'; }
good_calls()
{
	sample 'ereport(ERROR, (errcode(ERRCODE_X), errmsg("a \"%s\"", f(b))));' \
		'ereport(ERROR, errcode_for_file_access(), errmsg("waiting ..."));' \
		'ereport(LOG, (errmsg("no code needed")));'
}

lint "$@"
