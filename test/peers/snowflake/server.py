#!/usr/bin/env python3
"""server.py: a strict double of Snowflake's HTTP interfaces

A server for tests.  A public emulator (snowduck) executes the SQL; the files
beside this one speak the protocol as Snowflake's documentation has it, and
refuse what is not by it.  README.md says what is real and what is imitated,
and lists the faults.

It listens on the loopback interface only.  SIGTERM ends it.
"""

import argparse
import os
import signal
import socket
import ssl
import sys
import threading
import traceback
from http.server import ThreadingHTTPServer

from access import Access
from engine import Engine
from faults import Faults
from handler import Handler
from journal import Journal
from statements import Statements
from streaming import Streaming


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, options):
        self.options = options
        self.tls = tls_context(options)
        self.access = Access(options)
        self.engine = Engine(options)
        self.journal = Journal(options.data)
        self.faults = Faults()
        self.poison = {}            # by table; None: of any
        self.statements = Statements(self)
        self.streaming = Streaming(self)
        super().__init__(('127.0.0.1', options.port), Handler)

    def poison_of(self, table):
        """Values that it does not take."""
        return self.poison.get(None, set()) | self.poison.get(table, set())

    def finish_request(self, request, client_address):
        """In the connection's own thread: a handshake may take its time."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(30)
        try:
            secure = self.tls.wrap_socket(request, server_side=True)
        except OSError:
            return
        try:
            super().finish_request(secure, client_address)
        finally:
            self.shutdown_request(secure)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def tls_context(options):
    if not options.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    return context


def parse_options():
    parser = argparse.ArgumentParser(
        description="Snowflake's HTTP interfaces, for tests")
    parser.add_argument('--data', required=True, help='the directory of all'
                        ' that it keeps; for one server at a time')
    parser.add_argument('--port', type=int, default=0, help='0: any')
    parser.add_argument('--port-file', help='gets the port as soon as the'
                        ' server answers')
    parser.add_argument('--account', default='MYORG-MYACCOUNT',
                        help='as a JWT names it')
    parser.add_argument('--user', default='LEDGER')
    parser.add_argument('--public-key', help="PEM, the user's")
    parser.add_argument('--oauth-token-file')
    parser.add_argument('--pat-file', help='a programmatic access token')
    parser.add_argument('--database', default='APP')
    parser.add_argument('--schema', default='LEDGER')
    parser.add_argument('--warehouse', default='WH')
    parser.add_argument('--role', default='WRITER')
    parser.add_argument('--default-warehouse', action='store_true',
                        help='the user has one')
    parser.add_argument('--partition-rows', type=int, default=1000,
                        help='rows of one partition of a result')
    parser.add_argument('--commit-delay', type=int, default=200,
                        help='milliseconds from an append to its commit')
    parser.add_argument('--ingest-name', help='name of the host that takes'
                        ' rows; default: the one by which it is asked')
    parser.add_argument('--no-executor', action='store_true',
                        help='a MERGE, or an append, is checked, and not'
                        ' carried out: for measuring')
    parser.add_argument('--tls-cert', help='certificate; without: no TLS')
    parser.add_argument('--tls-key')
    options = parser.parse_args()
    options.data = os.path.abspath(options.data)
    return options


def tell_port(path, port):
    with open(path + '.new', 'w', encoding='ascii') as file:
        file.write(f'{port}\n')
    os.rename(path + '.new', path)


def main():
    options = parse_options()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = Server(options)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if options.port_file:
        tell_port(options.port_file, server.server_address[1])
    signal.sigwait(signals)
    # Requests that hang at a fault would be waited for otherwise.
    os._exit(0)


if __name__ == '__main__':
    main()
