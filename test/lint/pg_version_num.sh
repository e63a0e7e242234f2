#!/usr/bin/env bash
# Differences between versions of PostgreSQL are known to compat.h alone.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check()
{
	local list

	mapfile -t list < <(files '*.c' '*.h' | grep -v '/compat\.h$')
	find_lines '\bPG_(VERSION_NUM|MAJORVERSION)' '^$' "${list[@]}"
}

bad_source() { mkdir src && echo '#if PG_VERSION_NUM >= 160000' >src/a.c; }
good_compat()
{
	mkdir -p src/include
	echo '#if PG_VERSION_NUM >= 160000' >src/include/compat.h
}

lint "$@"
