#!/usr/bin/env bash
# C is written in 78 columns with tabs of 4.  A line may be longer for a string
# that people search for, or an address.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local file

	for file in $(files '*.c' '*.h'); do
		expand -t 4 "$file" | awk -v file="$file" '
			length($0) > 78 && !/"/ && !/:\/\// {
				print file ":" NR ": " length($0) " columns"
			}'
	done
}

bad_wide() { printf '\t\tint %070d;\n' 0 >a.c; }
good_width()
{
	printf '\t\tint %064d;\n' 0 >a.c
	printf '\t\terrmsg("%070d");\n' 0 >>a.c
}

lint "$@"
