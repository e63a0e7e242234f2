#!/bin/sh
# Exits 0 if this backend can be built here; else prints why not.
missing() { echo "$1 not found (Debian: $2)"; exit 1; }
has() { echo "#include <$1>" | ${CC:-cc} -E -x c - >/dev/null 2>&1; }

has curl/curl.h || missing curl/curl.h libcurl4-openssl-dev
has json-c/json.h || missing json-c/json.h libjson-c-dev
has zstd.h || missing zstd.h libzstd-dev
has openssl/evp.h || missing openssl/evp.h libssl-dev
