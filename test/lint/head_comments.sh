#!/usr/bin/env bash
# A C file begins with a comment that names the file, so that a copied or
# renamed one is noticed, and says what it is for.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local file

	for file in $(files '*.c' '*.h'); do
		head -n 1 "$file" | grep -q '^/\*' ||
			echo "$file:1: no comment at the head"
		head -n 8 "$file" | grep -qwF "$(basename "$file")" ||
			echo "$file:1: the head does not name the file"
	done
}

bad_none() { echo 'int a;' >a.c; }
bad_name() { printf '/*\n * b.c\n *\t  purpose\n */\n' >a.c; }
good_head() { printf '/*---\n *\n * a.c\n *\t  purpose\n */\n' >a.c; }

lint "$@"
