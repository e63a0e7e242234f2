#!/bin/sh
# Exits 0 if this backend can be built here; else prints why not.
# PG_CONFIG names the pg_config of the server it is built for.
pg_config=${PG_CONFIG:-pg_config}

for dir in "$("$pg_config" --includedir)" /usr/include/postgresql /usr/include
do
	[ -f "$dir/libpq-fe.h" ] && exit 0
done
echo "libpq-fe.h not found (Debian: libpq-dev)"
exit 1
