# shellcheck shell=bash
#
# provision.sh
#	What a test or a demo needs of the machine: packages, a copy of the tree,
#	a PostgreSQL of its own.  To be sourced.
#
# Nothing of the system is touched but by apt-get, and that only as root.  A
# PostgreSQL installation finds its own files relative to its programs, so a
# copy of its directories below another root is a complete installation that
# "make install" can write to without any rights.
#
# Names it sets: PG_CONFIG (of the copy, after private_postgres), MISSING (of
# packages that are wanted and cannot be installed here, after provide).

MISSING=()
APT_UPDATED=

say()
{
	printf '%s\n' "$*"
}

have()
{
	command -v "$1" >/dev/null 2>&1
}

is_root()
{
	[ "$(id -u)" -eq 0 ]
}

# Run a command as the unprivileged user that owns the work directory: the
# server refuses root.
as_user()
{
	user_command
	"${USER_COMMAND[@]}" "$@"
}

# Words to put before a command for the same, where a function will not do.
user_command()
{
	USER_COMMAND=(env "HOME=$WORK")
	is_root && USER_COMMAND=(runuser -u nobody -- "${USER_COMMAND[@]}")
	return 0
}

# The newest installation that can run a server and build extensions.
find_pg_config()
{
	local candidate

	for candidate in ${PG_CONFIG:+"$PG_CONFIG"} \
		"$(command -v pg_config || true)" \
		$(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV); do
		if usable_pg_config "$candidate"; then
			printf '%s\n' "$candidate"
			return 0
		fi
		[ "$candidate" = "${PG_CONFIG:-}" ] && return 1
	done
	return 1
}

usable_pg_config()
{
	[ -n "$1" ] && have "$1" && [ -r "$("$1" --pgxs 2>/dev/null)" ] &&
		[ -x "$("$1" --bindir)/postgres" ] &&
		[ -r "$("$1" --includedir-server)/postgres.h" ]
}

# The major version that this distribution's "postgresql" package stands for.
suite_major()
{
	apt-cache depends postgresql 2>/dev/null |
		sed -n 's/.*Depends: postgresql-\([0-9]\+\)$/\1/p' | head -n 1
}

apt_update_once()
{
	[ -n "$APT_UPDATED" ] && return
	say "updating the package lists"
	apt-get -qq update || say "apt-get update failed; trying with what is known"
	APT_UPDATED=yes
}

# No cluster of the system's own is created or started for our sake.
apt_install()
{
	local conf=/etc/postgresql-common/createcluster.d/tokenledger-test.conf
	local status=0

	apt_update_once
	say "installing $*"
	mkdir -p "${conf%/*}"
	echo 'create_main_cluster = false' >"$conf"
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install \
		-y --no-install-recommends "$@" >"$WORK/apt.log" 2>&1 || status=$?
	rm -f "$conf"
	rmdir --ignore-fail-on-non-empty "${conf%/*}" /etc/postgresql-common
	[ $status -eq 0 ] || tail -n 20 "$WORK/apt.log"
	return $status
}

# provide required|optional PACKAGE TEST...: install PACKAGE unless the command
# TEST holds.  What cannot be had is remembered in MISSING; the status tells
# whether it is here now.
provide()
{
	local kind=$1 package=$2

	shift 2
	"$@" >/dev/null 2>&1 && return 0
	if is_root && have apt-get && [ -z "${NO_PACKAGES:-}" ]; then
		apt_install "$package" && "$@" >/dev/null 2>&1 && return 0
	fi
	MISSING+=("$kind:$package")
	return 1
}

provide_build()
{
	local major

	provide required make have make
	provide required gcc have gcc
	provide required libc6-dev has_header stdio.h
	if ! find_pg_config >/dev/null; then
		if is_root && have apt-get && [ -z "${NO_PACKAGES:-}" ]; then
			apt_update_once
		fi
		major=$(suite_major)
		provide required "postgresql-${major:-15}" \
			test -x "/usr/lib/postgresql/${major:-15}/bin/postgres"
		provide required "postgresql-server-dev-${major:-15}" find_pg_config
	fi
	provide required libpq-dev has_libpq
}

# What backends need besides; without it they are left out.
provide_backends()
{
	provide optional libcurl4-openssl-dev has_header curl/curl.h
	provide optional libjson-c-dev has_header json-c/json.h
	provide optional libzstd-dev has_header zstd.h
	provide optional liblz4-dev has_header lz4frame.h
	provide optional libssl-dev has_header openssl/evp.h
	provide optional libprotobuf-c-dev has_header protobuf-c/protobuf-c.h
	provide optional protobuf-c-compiler have protoc-c
	provide optional librdkafka-dev has_header librdkafka/rdkafka.h
	return 0
}

# TimescaleDB for this PostgreSQL, where the distribution has it: not every one
# does, and it is not asked for in vain.
provide_timescaledb()
{
	local major package

	has_timescaledb && return
	major=$("$(find_pg_config)" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
	package=postgresql-$major-timescaledb
	apt-cache show "$package" >/dev/null 2>&1 || return 0
	provide optional "$package" has_timescaledb
}

has_timescaledb()
{
	[ -r "$("$(find_pg_config)" --sharedir)/extension/timescaledb.control" ]
}

has_header()
{
	echo "#include <$1>" | "${CC:-gcc}" -E -x c - >/dev/null 2>&1
}

has_libpq()
{
	[ -r "$("$(find_pg_config)" --includedir)/libpq-fe.h" ]
}

missing_required()
{
	printf '%s\n' "${MISSING[@]}" | sed -n 's/^required://p' | paste -sd ' '
}

# copy_tree FROM TO: the files that git would commit, or, outside of git, all.
copy_tree()
{
	mkdir -p "$2"
	if git -C "$1" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git -C "$1" ls-files -z --cached --others --exclude-standard |
			tar -C "$1" --null -T - --ignore-failed-read -cf - 2>/dev/null |
			tar -C "$2" -xf -
	else
		tar -C "$1" --exclude=.git --exclude='*.o' --exclude='*.so' \
			--exclude='*.bc' -cf - . | tar -C "$2" -xf -
	fi
}

# private_postgres ROOT: copy the installation below ROOT and set PG_CONFIG.
private_postgres()
{
	local root=$1 config dir

	config=$(find_pg_config) || return 1
	for dir in --bindir --pkglibdir --sharedir --includedir \
		--includedir-server; do
		dir=$("$config" $dir)
		[ -d "$root$dir" ] && continue
		mkdir -p "$root${dir%/*}"
		cp -a "$dir" "$root${dir%/*}/"
	done
	PG_CONFIG=$root$("$config" --bindir)/pg_config
	export PG_CONFIG
	[ "$("$PG_CONFIG" --sharedir)" = "$root$("$config" --sharedir)" ] &&
		[ "$("$PG_CONFIG" --pkglibdir)" = "$root$("$config" --pkglibdir)" ]
}

# Ask every server below the directory to stop at once, and wait for it.
stop_servers_below()
{
	local file pid

	find "$1" -name postmaster.pid -type f 2>/dev/null |
		while read -r file; do
			pid=$(head -n 1 "$file")
			kill -QUIT "$pid" 2>/dev/null || continue
			timeout 20 tail --pid="$pid" -f /dev/null || true
		done
}

# Whoever has a path below a directory among its arguments: peers of a test that
# was killed, and could not end them.
kill_left_below()
{
	local file

	for file in /proc/[0-9]*/cmdline; do
		case $(tr '\0' ' ' 2>/dev/null <"$file") in
			*"$1/"*) kill -KILL "${file//[!0-9]/}" 2>/dev/null ;;
		esac
	done
	return 0
}
