#!/usr/bin/env bash
# The project works on any machine: no absolute path of the one it was written
# on, no temporary directory but TMPDIR's.  "path-ok: reason" excuses a line.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local list

	mapfile -t list < <(files '*' | grep -v '^test/lint/machine_paths.sh$')
	find_lines '(?<![\w$}.-])/(work|tmp|home|root|Users)(/|\b(?![\w.]))' \
		'TMPDIR:-/tmp|path-ok: .' "${list[@]}"
}

bad_tmp() { echo 'path = /tmp/spool' >a.conf; }
bad_home() { echo 'cd /home/someone' >run; }
bad_alone() { echo 'ls "/work"' >run; }
good_paths()
{
	printf '%s\n' 'd=${TMPDIR:-/tmp}' 'a/tmp/b' '$dir/tmp' '/etc/tokenledger' \
		'see /tmpfiles' 'x=/tmp/a	# path-ok: an example' >run
}

lint "$@"
