#!/bin/sh
# Exits 0 if this backend can be built here; else prints why not.  It needs
# what the backend "postgres" needs; the extension is the store's affair.
exec sh "${0%/*}/../postgres/probe.sh"
