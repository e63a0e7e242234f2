#!/usr/bin/env python3
"""server.py: ClickHouse's HTTP interface in front of its real engine

A server for tests.  The engine (chdb) parses, converts, stores and refuses;
the files beside this one speak HTTP as the server of the store does.
README.md says what is real and what is imitated, and lists the fault points.

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


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, options):
        self.options = options
        self.tls = tls_context(options)
        self.access = Access(options)
        self.engine = Engine(options.data)
        self.journal = Journal(options.data)
        self.faults = Faults()
        self.display_name = socket.gethostname()
        super().__init__(('127.0.0.1', options.port), Handler)

    def finish_request(self, request, client_address):
        """In the connection's own thread: a handshake may take its time."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(30)
        try:
            secure = self.tls.wrap_socket(request, server_side=True)
        except OSError as error:
            if self.options.verbose:
                print(f'TLS: {error}', file=sys.stderr)
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
    if options.client_ca:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def parse_options():
    parser = argparse.ArgumentParser(
        description="ClickHouse's HTTP interface, for tests")
    parser.add_argument('--data', required=True, help='the directory of all'
                        ' that it keeps; for one server at a time')
    parser.add_argument('--port', type=int, default=0, help='0: any')
    parser.add_argument('--port-file', help='gets the port as soon as the'
                        ' server answers')
    parser.add_argument('--user', default='default')
    parser.add_argument('--password-file', help='without: no password')
    parser.add_argument('--token-file', help='a bearer token that is as good'
                        ' as user and password')
    parser.add_argument('--tls-cert', help='certificate; without: no TLS')
    parser.add_argument('--tls-key')
    parser.add_argument('--client-ca', help='demand a certificate of the'
                        ' client, signed by this one')
    parser.add_argument('--keep-alive', type=int, default=30,
                        help='seconds until an idle connection is closed')
    parser.add_argument('--verbose', action='store_true')
    options = parser.parse_args()
    options.data = os.path.abspath(options.data)
    return options


def tell_port(path, port):
    """All at once, and not by rename(2), which a test may have broken."""
    with open(path + '.new', 'w', encoding='ascii') as file:
        file.write(f'{port}\n')
    os.link(path + '.new', path)
    os.unlink(path + '.new')


def main():
    options = parse_options()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = Server(options)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if options.port_file:
        tell_port(options.port_file, server.server_address[1])
    signal.sigwait(signals)
    server.shutdown()
    server.engine.close()
    # Requests that hang at a fault point would be waited for otherwise.
    os._exit(0)


if __name__ == '__main__':
    main()
