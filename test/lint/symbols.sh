#!/usr/bin/env bash
# What the libraries export.  Modules share one name space in a server, so
# anything without our prefix may clash with another extension.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ALLOWED='^(Pg_magic_func|_PG_init|_PG_fini|tokenledger_backend_init'
ALLOWED+='|(pg_finfo_)?tl_\w+|tl(pg|ch|bq|sf|kf|ck)_\w+)$'

check()
{
	local library symbol found=

	need nm
	while read -r library; do
		found=yes
		nm -D --defined-only "$library" | awk '{ print $NF }' |
			sed 's/@.*//' | grep -vP "$ALLOWED" |
			while read -r symbol; do
				echo "$library:0: exports $symbol"
			done
	done < <(find . -name 'tokenledger*.so' -type f)
	[ -n "$found" ] || echo "no library found: build first"
	return 0
}

sample()
{
	need gcc
	printf '%s\n' "$@" | gcc -shared -fPIC -x c -o tokenledger_sample.so -
}

bad_function() { sample 'int connect_store(void) { return 1; }'; }
bad_variable() { sample 'int tl_fine, counter;'; }
bad_nothing_built() { :; }
good_names()
{
	sample 'int tl_a, pg_finfo_tl_a, Pg_magic_func, tokenledger_backend_init;' \
		'static int x(void) { return tl_a; } int tlpg_f(void) { return x(); }'
}

lint "$@"
