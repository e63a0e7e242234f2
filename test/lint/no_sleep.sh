#!/usr/bin/env bash
# Tests do not sleep: they poll for what they wait for, with a deadline.  The
# interval of such a poll, or a query that has to be busy for a while, says so:
# a comment "sleep-ok: reason" on the same line or the one before.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local list

	mapfile -t list < <(files 'test/*' | grep -v '^test/lint/')
	[ ${#list[@]} -eq 0 ] && return
	awk '
		FNR == 1 { excused = 0 }
		/(^|[^[:alnum:]_.-])(u|nano|pg_|pg_u|clock_nano)?sleep([^[:alnum:]_:-]|$)/ &&
		!excused && !/sleep-ok: ./ && !/^[ \t]*(#|--|\*|\/\*)/ {
			print FILENAME ":" FNR ": sleeps"
		}
		{ excused = /sleep-ok: ./ }' "${list[@]}"
}

sample() { mkdir -p test/t && printf '%s\n' "$@" >test/t/a.pl; }

bad_perl() { sample 'sleep 1;'; }
bad_sql() { sample "SELECT pg_sleep(1);"; }
bad_c() { sample '	usleep(100);'; }
bad_without_reason() { sample 'sleep 1; # sleep-ok:'; }
good_excused()
{
	sample '# sleep-ok: poll interval' 'usleep(1000);' \
		'SELECT pg_sleep(5); -- sleep-ok: holds a snapshot open' \
		'my $sleeping = 1;' '# no sleep here'
}

lint "$@"
