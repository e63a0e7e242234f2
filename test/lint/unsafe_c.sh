#!/usr/bin/env bash
# C functions that write without knowing how much fits.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local list

	mapfile -t list < <(files '*.c' '*.h')
	find_lines '\b(strcpy|strcat|stpcpy|sprintf|vsprintf|gets|alloca)\s*\(' \
		'^$' "${list[@]}"
}

bad_sprintf() { echo 'sprintf(buf, "%d", x);' >a.c; }
bad_strcpy() { echo '	strcpy (a, b);' >a.h; }
good_calls() { echo 'snprintf(b, 9, "x"); psprintf("y"); strlcpy(a, b, 9);' >a.c; }

lint "$@"
