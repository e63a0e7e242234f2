#!/usr/bin/env bash
# An extension script that psql runs by mistake stops before it does anything.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

GUARD='^\\echo Use "(CREATE|ALTER) EXTENSION tokenledger.*\\quit$'

check()
{
	local file

	for file in $(files 'sql/tokenledger--*.sql'); do
		first_statement "$file" | grep -qE "$GUARD" ||
			echo "$file:1: the first statement is no \\echo guard"
	done
}

# Its first line, past blank lines and comments of both kinds.
first_statement()
{
	awk '
		/^\/\*/ { inside = 1 }
		!inside && !/^(--.*)?$/ { print; exit }
		/\*\/$/ { inside = 0 }' "$1"
}

sample() { mkdir sql && printf '%s\n' "$@" >sql/tokenledger--1.0.sql; }

bad_missing() { sample '-- text' 'CREATE TABLE t ();'; }
bad_late()
{
	sample 'SELECT 1;' '\echo Use "CREATE EXTENSION tokenledger" to load it. \quit'
}
bad_without_quit() { sample '\echo Use "CREATE EXTENSION tokenledger".'; }
good_block_comment()
{
	sample '/* text' ' * more */' '' \
		'\echo Use "ALTER EXTENSION tokenledger UPDATE" to load it. \quit'
}
good_guard()
{
	sample '-- text' '' \
		'\echo Use "CREATE EXTENSION tokenledger" to load this file. \quit' \
		'CREATE TABLE t ();'
}

lint "$@"
