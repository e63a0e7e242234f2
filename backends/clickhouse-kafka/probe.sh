#!/bin/sh
# Exits 0 if this backend can be built here; else prints why not.
here=$(dirname "$0")
sh "$here/../kafka/probe.sh" && sh "$here/../clickhouse/probe.sh"
