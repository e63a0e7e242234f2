# shellcheck shell=bash
#
# peers.sh
#	Engines and tools that tests talk to and that no distribution packages.
#	To be sourced after provision.sh.
#
# They come from public registries, at pinned versions, into a cache outside
# of the tree: /var/cache/tokenledger for root, .cache/tokenledger in the home
# directory for others, or what TOKENLEDGER_CACHE says.  There they stay, to be
# read by everyone: tests run as another user than the one who installs.  With
# NO_PACKAGES=1 only what is in the cache is used.
#
# A peer that cannot be had leaves its variable unset and its reason in the
# variable's name with _MISSING; tests that need it are counted as skipped.
#
#	provide_clickhouse	TOKENLEDGER_CHDB_PYTHON, a Python with ClickHouse's
#						engine
#	provide_bigquery	TOKENLEDGER_BIGQUERY_PEER, the double of BigQuery in
#						test/peers/bigquery
#	provide_snowflake	TOKENLEDGER_SNOWFLAKE_PYTHON, a Python with the emulator
#						of Snowflake that the double in test/peers/snowflake runs
#	provide_kafka		TOKENLEDGER_KAFKA, the libraries of Apache Kafka's broker;
#						needs java and kcat besides
#	provide_toxiproxy	TOKENLEDGER_TOXIPROXY, the proxy that cuts connections
#	provide_python_client
#						TOKENLEDGER_CLIENT_PYTHON, a Python with the client of the
#						same name, and with what it is used with

CHDB_VERSION=4.4.0
CHDB_CORE_VERSION=26.9.0
SNOWDUCK_VERSION=0.3.0
TOXIPROXY_VERSION=2.12.0
BIGQUERY_PEER=$(dirname "${BASH_SOURCE[0]}")/../peers/bigquery
KAFKA_VERSION=4.4.0
KAFKA_PEER=$(dirname "${BASH_SOURCE[0]}")/../peers/kafka
PYTHON_CLIENT=$(dirname "${BASH_SOURCE[0]}")/../peers/python_client

peer_cache()
{
	if [ -n "${TOKENLEDGER_CACHE:-}" ]; then
		printf '%s\n' "$TOKENLEDGER_CACHE"
	elif is_root; then
		echo /var/cache/tokenledger
	else
		printf '%s\n' "${HOME:-/nonexistent}/.cache/tokenledger"
	fi
}

# install_peer NAME FUNCTION: the path in the cache, after FUNCTION has filled
# the directory it is given, unless someone did before.  Two at a time do it
# once.  What was begun and not ended is begun again.
install_peer()
{
	local path lock status=0

	path=$(peer_cache)/$1
	if [ ! -e "$path/complete" ]; then
		[ -z "${NO_PACKAGES:-}" ] || return 1
		mkdir -p "${path%/*}" 2>/dev/null && exec {lock}>"$path.lock" ||
			return 1
		flock "$lock"
		if [ ! -e "$path/complete" ]; then
			say "installing $1 into ${path%/*}" >&2
			rm -rf "$path"
			(umask 022 && mkdir "$path" && "$2" "$path" &&
				touch "$path/complete") >"$path.log" 2>&1 || status=1
			[ $status -eq 0 ] || tail -n 5 "$path.log" >&2
		fi
		exec {lock}>&-
	fi
	printf '%s\n' "$path"
	return $status
}

# ClickHouse: its engine as a library of Python.  Of what that library would
# bring along nothing is needed, and it is twice as large as the engine.

provide_clickhouse()
{
	local path

	export TOKENLEDGER_CHDB_PYTHON='' TOKENLEDGER_CHDB_PYTHON_MISSING=''
	if path=$(install_peer "chdb-$CHDB_VERSION" install_chdb) &&
		"$path/bin/python" -c 'import chdb' 2>/dev/null; then
		TOKENLEDGER_CHDB_PYTHON=$path/bin/python
		return 0
	fi
	TOKENLEDGER_CHDB_PYTHON_MISSING="chdb $CHDB_VERSION is not in $(peer_cache)"
	return 1
}

install_chdb()
{
	install_python "$1" --no-deps "chdb==$CHDB_VERSION" \
		"chdb-core==$CHDB_CORE_VERSION"
}

# install_python DIRECTORY OPTION_OR_REQUIREMENT...
install_python()
{
	local python path=$1

	shift
	python=$(venv_python) || {
		provide optional python3-venv venv_python
		python=$(venv_python) || return 1
	}
	"$python" -m venv "$path" &&
		"$path/bin/python" -m pip install --disable-pip-version-check -q \
			--no-input --no-cache-dir "$@"
}

# The distribution's Python goes first: another one may belong to a user, and
# then be out of reach of the one that tests run as.
venv_python()
{
	local python

	for python in /usr/bin/python3 "$(command -v python3 || true)"; do
		if [ -x "$python" ] && "$python" -c 'import venv, ensurepip' \
			2>/dev/null; then
			printf '%s\n' "$python"
			return 0
		fi
	done
	return 1
}

# The Python client: other requirements are another peer.  -I, since Python
# would take a tokenledger.so in this directory for the client.

provide_python_client()
{
	local list=$PYTHON_CLIENT/requirements.txt path

	export TOKENLEDGER_CLIENT_PYTHON='' TOKENLEDGER_CLIENT_PYTHON_MISSING=''
	if path=$(install_peer "python-client-$(cksum <"$list" | tr ' ' -)" \
		install_python_client) &&
		"$path/bin/python" -I -c 'import tokenledger' 2>/dev/null; then
		TOKENLEDGER_CLIENT_PYTHON=$path/bin/python
		return 0
	fi
	TOKENLEDGER_CLIENT_PYTHON_MISSING="the Python client is not in $(peer_cache)"
	return 1
}

install_python_client()
{
	install_python "$1" -r "$PYTHON_CLIENT/requirements.txt"
}

# BigQuery: the double is of this tree, built with modules of others; other
# sources are another peer.  Google's own client, which shows that the double is
# one, is built into a program of tests beside it.

provide_bigquery()
{
	local path

	export TOKENLEDGER_BIGQUERY_PEER='' TOKENLEDGER_BIGQUERY_PEER_MISSING=''
	BIGQUERY_PEER=$(cd "$BIGQUERY_PEER" && pwd)
	if path=$(install_peer "bigquery-$(cat "$BIGQUERY_PEER"/*.go \
		"$BIGQUERY_PEER/go.mod" | cksum | tr ' ' -)" install_bigquery) &&
		[ -x "$path/peer" ]; then
		TOKENLEDGER_BIGQUERY_PEER=$path/peer
		return 0
	fi
	TOKENLEDGER_BIGQUERY_PEER_MISSING="the double of BigQuery is not in $(peer_cache)"
	return 1
}

install_bigquery()
{
	need_go && cp "$BIGQUERY_PEER"/*.go "$BIGQUERY_PEER"/go.* "$1" &&
		cd "$1" && nice_go build -ldflags='-s -w' -o peer . &&
		nice_go test -c -ldflags='-s -w' -o peer.test .
}

# Snowflake: an emulator that executes its SQL.  Newer versions of sqlglot are
# none of those that it can be imported with.

provide_snowflake()
{
	local path

	export TOKENLEDGER_SNOWFLAKE_PYTHON='' TOKENLEDGER_SNOWFLAKE_PYTHON_MISSING=''
	if path=$(install_peer "snowduck-$SNOWDUCK_VERSION" install_snowduck) &&
		"$path/bin/python" -c 'import snowduck.connector, jwt, zstandard' \
			2>/dev/null; then
		TOKENLEDGER_SNOWFLAKE_PYTHON=$path/bin/python
		return 0
	fi
	TOKENLEDGER_SNOWFLAKE_PYTHON_MISSING="snowduck $SNOWDUCK_VERSION is not in $(peer_cache)"
	return 1
}

install_snowduck()
{
	install_python "$1" "snowduck==$SNOWDUCK_VERSION" \
		"sqlglot[c]==30.22.0" "zstandard==0.25.0"
}

# Kafka: the broker's libraries, from Maven Central; pom.xml names the version.
# What reads its topics is kcat, which shares nothing with it but the protocol.

provide_kafka()
{
	local path

	export TOKENLEDGER_KAFKA='' TOKENLEDGER_KAFKA_MISSING=''
	provide optional kcat have kcat
	provide optional default-jre-headless have java
	if ! have kcat || ! have java; then
		TOKENLEDGER_KAFKA_MISSING="no kcat, or no java"
		return 1
	fi
	if path=$(install_peer "kafka-$KAFKA_VERSION" install_kafka); then
		TOKENLEDGER_KAFKA=$path/libs
		return 0
	fi
	TOKENLEDGER_KAFKA_MISSING="Apache Kafka $KAFKA_VERSION is not in $(peer_cache)"
	return 1
}

# Maven's own cache would be a second copy.
install_kafka()
{
	have mvn || provide optional maven have mvn || return 1
	mvn -q -B -f "$KAFKA_PEER/pom.xml" "-Dmaven.repo.local=$1/repository" \
		dependency:copy-dependencies "-DoutputDirectory=$1/libs" &&
		rm -rf "$1/repository" &&
		compgen -G "$1/libs/kafka_*-$KAFKA_VERSION.jar" >/dev/null
}

# toxiproxy: built from its sources.

provide_toxiproxy()
{
	local path

	export TOKENLEDGER_TOXIPROXY='' TOKENLEDGER_TOXIPROXY_MISSING=''
	if path=$(install_peer "toxiproxy-$TOXIPROXY_VERSION" \
		install_toxiproxy) && [ -x "$path/server" ]; then
		TOKENLEDGER_TOXIPROXY=$path/server
		return 0
	fi
	TOKENLEDGER_TOXIPROXY_MISSING="toxiproxy $TOXIPROXY_VERSION is not in $(peer_cache)"
	return 1
}

install_toxiproxy()
{
	need_go && cd "$1" && GOBIN=$1 nice_go install \
		"github.com/Shopify/toxiproxy/v2/cmd/server@v$TOXIPROXY_VERSION"
}

need_go()
{
	have_go || { package_has_go && provide optional golang-go have_go; } ||
		{ echo "no Go from 1.21 on"; return 1; }
}

# What it fetches and compiles stays in the cache.
nice_go()
{
	local cache

	cache=$(peer_cache)
	env GOPATH="$cache/go" GOCACHE="$cache/go-build" GOFLAGS=-modcacherw \
		CGO_ENABLED=0 nice go "$@"
}

# From 1.21 on, Go gets the version that a module asks for by itself.
have_go()
{
	local version

	have go || return 1
	version=$(go env GOVERSION 2>/dev/null)
	[[ $version =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 21 ]
}

package_has_go()
{
	local version

	version=$(apt-cache policy golang-go 2>/dev/null |
		sed -n 's/.*Candidate: [0-9]*:\?1\.\([0-9]\+\).*/\1/p')
	[ "${version:-0}" -ge 21 ]
}
