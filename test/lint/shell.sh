#!/usr/bin/env bash
# No shell script has a finding of shellcheck.  Let through are its doubts
# about functions that are called by their names and about text that is not
# meant to be expanded.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local list

	need shellcheck
	mapfile -t list < <(shell_scripts)
	[ ${#list[@]} -eq 0 ] && return
	shellcheck -x -e SC1091,SC2016,SC2028,SC2317,SC2329 -f gcc "${list[@]}" || true
}

shell_scripts()
{
	local file

	list_files | while read -r file; do
		case $file in
			*.sh) echo "$file" ;;
			*.*) ;;
			*) head -n 1 "$file" | grep -qaE '^#!.*[/ ](ba)?sh\b' &&
				echo "$file" ;;
		esac
	done
}

bad_quoting() { printf '%s\n' '#!/bin/sh' 'rm $1' >run; }
good_script() { printf '%s\n' '#!/bin/sh' 'rm "$1"' >run; }

lint "$@"
