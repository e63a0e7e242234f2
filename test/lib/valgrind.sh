# shellcheck shell=bash
#
# valgrind.sh
#	The regression tests in a server under valgrind.  To be sourced by
#	test/run.
#
# The program "postgres" of the private installation gives way to a script
# that runs it under valgrind; each process writes a file of its own.  What is
# found anywhere counts, but for the bytes of padding that the server writes to
# its files (valgrind.supp); a block that is leaked counts if one of our
# libraries is in its stack, as the server itself frees little before it exits.

part_valgrind()
{
	provide optional valgrind have valgrind
	if ! have valgrind; then
		skip valgrind "no valgrind"
		return
	fi
	wrap_postgres || return
	TIMEOUT=$((TIMEOUT * 5)) PGCTLTIMEOUT=600 part_regress regress "$@"
	stop_servers_below "$WORK"
	judge valgrind "$WORK/log/valgrind" \
		bash "$WORK/tree/test/lib/valgrind_found" "$WORK/valgrind"
}

wrap_postgres()
{
	local postgres

	postgres=$("$PG_CONFIG" --bindir)/postgres
	mkdir -m 777 "$WORK/valgrind"
	mv "$postgres" "$postgres.bin" &&
		cat >"$postgres" <<-SCRIPT && chmod 755 "$postgres"
			#!/bin/sh
			[ "\$1" = -D ] || exec "$postgres.bin" "\$@"	# no postmaster
			exec valgrind --quiet --leak-check=full --show-leak-kinds=definite \\
				--num-callers=30 --suppressions="$WORK/tree/test/lib/valgrind.supp" \\
				--log-file="$WORK/valgrind/%p" "$postgres.bin" "\$@"
		SCRIPT
}
