#!/usr/bin/env bash
# A function has at most 80 lines.  Median and 90 % are reported: 15 and 45 are
# what we aim at.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LIMIT=80

check()
{
	need ctags
	ctags --version | grep -q Universal || cannot "no universal-ctags"
	files '*.c' '*.h' |
		ctags -x --languages=C --langmap=C:.c.h --kinds-C=f \
			--_xformat='%{end} %n %F %N' -L - |
		awk '{ print $1 - $2 + 1, $3, $2, $4 }' | sort -n |
		awk -v limit=$LIMIT '
			{ length_of[NR] = $1 }
			$1 > limit { printf "%s:%d: %s has %d lines\n", $2, $3, $4, $1 }
			END {
				if (NR > 0)
					printf "%d functions: median %d lines, 90 %% within %d\n",
						NR, length_of[int((NR + 1) / 2)],
						length_of[int((NR * 9 + 9) / 10)] >"/dev/stderr"
			}'
}

# function NAME LINES
function_of()
{
	printf 'static int\n%s(void)\n{\n' "$1"
	yes '	call();' | head -n $(($2 - 4))
	printf '}\n'
}

bad_long() { function_of ok 20 >a.c; function_of too_long 82 >>a.c; }
bad_in_header() { function_of too_long 90 >a.h; }
good_short() { function_of a 80 >a.c; function_of b 80 >>a.c; }

lint "$@"
