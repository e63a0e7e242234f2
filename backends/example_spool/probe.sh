#!/bin/sh
# The example needs the installed header.  PG_CONFIG names the pg_config.
pg_config=${PG_CONFIG:-pg_config}
dir=$("$pg_config" --includedir-server)/extension/tokenledger

[ -f "$dir/tokenledger_backend.h" ] && exit 0
echo "tokenledger_backend.h is not installed yet"
exit 1
