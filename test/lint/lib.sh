# shellcheck shell=bash
#
# lib.sh
#	The frame of a lint rule.  To be sourced by each of them.
#
# A rule is a script that defines
#	check		looks at the tree in the working directory and prints
#				"file:line: what is wrong" for each finding; notes that are no
#				findings go to standard error
#	bad_*		one or more functions that write a sample which check must find
#	good_*		likewise, which check must not find
# and ends with: lint "$@".  Status 0: nothing found; 1: findings, or, with
# --self-test, a sample that was judged wrongly; 77: the rule cannot be run.
set -uo pipefail

cannot()
{
	echo "$*"
	exit 77
}

need()
{
	command -v "$1" >/dev/null || cannot "no $1"
}

# The project's files whose names match one of the glob patterns.
files()
{
	local pattern file

	list_files | while read -r file; do
		for pattern in "$@"; do
			# shellcheck disable=SC2053	# a pattern on purpose
			if [[ $file == $pattern ]]; then
				printf '%s\n' "$file"
				break
			fi
		done
	done
}

list_files()
{
	if [ -e .git ]; then
		git ls-files --cached --others --exclude-standard |
			while read -r file; do [ -f "$file" ] && echo "$file"; done
	else
		find . -type f -not -path './.git/*' -not -path '*/results/*' \
			-not -path '*/tmp_check/*' -not -path '*/build/*' \
			-not -name '*.o' -not -name '*.so' -not -name '*.bc' \
			-not -name '*.pb-c.[ch]' \
			-not -name 'regression.*' | sed 's,^\./,,' | sort
	fi
}

# grep over files, with file names and line numbers; no file is no finding.
# find_lines REGEX EXCEPT FILE...: lines that match EXCEPT are let through.
find_lines()
{
	local regex=$1 except=$2

	shift 2
	[ $# -eq 0 ] && return 0
	grep -HnIP -- "$regex" "$@" | grep -vP -- "$except" || true
}

lint()
{
	local findings

	if [ "${1:-}" = --self-test ]; then
		self_test
		exit
	fi
	cd "$(dirname "${BASH_SOURCE[1]}")/../.." || exit 1
	findings=$(check) || exit
	[ -z "$findings" ] && exit 0
	printf '%s\n' "$findings"
	exit 1
}

self_test()
{
	local sample failed=0

	SAMPLES=$(mktemp -d) || exit 1
	trap 'rm -rf "$SAMPLES"' EXIT
	for sample in $(compgen -A function | grep -E '^(bad|good)_'); do
		try_sample "$sample" || failed=1
	done
	compgen -A function | grep -q '^bad_' || failed=1
	return $failed
}

try_sample()
{
	local findings status=0

	mkdir "$SAMPLES/$1"
	findings=$(cd "$SAMPLES/$1" && "$1" && check 2>/dev/null) || status=$?
	[ $status -eq 77 ] && cannot "$findings"
	case $1 in
		bad_*) [ -n "$findings" ] && return ;;
		good_*) [ -z "$findings" ] && return ;;
	esac
	echo "$1 was judged wrongly: ${findings:-nothing found}"
	return 1
}
