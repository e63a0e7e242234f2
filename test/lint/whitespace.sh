#!/usr/bin/env bash
# What .editorconfig says: no trailing whitespace, no carriage returns, one
# newline at the end; tabs indent C, Perl and shell.  Expected output is as the
# server prints it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local all indented file

	mapfile -t all < <(files '*' | grep -vE '\.(out|png|svg|ico|native)$')
	mapfile -t indented < <(files '*.c' '*.h' '*.pl' '*.pm' '*.sh' 'test/run')
	find_lines '[ \t\r]+$' '^$' "${all[@]}" | sed 's/:\([0-9]*\):.*/:\1: trailing whitespace/'
	find_lines '^\t* {4}' '^$' "${indented[@]}" |
		sed 's/:\([0-9]*\):.*/:\1: indented with spaces/'
	for file in "${all[@]}"; do
		[ -s "$file" ] && [ -n "$(tail -c 1 "$file" | tr -d '\n')" ] &&
			echo "$file:0: no newline at the end"
		[ -s "$file" ] && [ -z "$(tail -n 1 "$file")" ] &&
			echo "$file:0: blank line at the end"
	done
	return 0
}

bad_trailing() { printf 'a \n' >a.c; }
bad_carriage_return() { printf 'a\r\n' >a.sql; }
bad_spaces() { printf '    int a;\n' >a.c; }
bad_no_newline() { printf 'a' >README.md; }
bad_blank_end() { printf 'a\n\n' >README.md; }
good_text()
{
	printf '/*\n * a\n */\n\tint\t\t   a;\n' >a.c
	printf ' a \n---\n' >a.out
	: >empty
}

lint "$@"
