"""tls_front.py UPSTREAM_PORT CERTIFICATE KEY: TLS in front of a port

Prints the port that it listens on; what arrives there goes on without TLS, and
back.  The certificate is read anew for each connection, so that a test can put
another one in its place.  It ends with its standard input.
"""

import os
import socket
import ssl
import sys
import threading


def pump(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(plain, upstream_port, certificate, key):
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        plain.settimeout(30)
        with context.wrap_socket(plain, server_side=True) as client, \
                socket.create_connection(('127.0.0.1', upstream_port)) as store:
            client.settimeout(None)
            back = threading.Thread(target=pump, args=(store, client),
                                    daemon=True)
            back.start()
            pump(client, store)
            back.join()
    except OSError:
        plain.close()


def main():
    upstream_port, certificate, key = sys.argv[1:]
    listener = socket.create_server(('127.0.0.1', 0), backlog=128)
    print(listener.getsockname()[1], flush=True)

    def until_input_ends():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=until_input_ends, daemon=True).start()
    while True:
        plain, _ = listener.accept()
        threading.Thread(target=serve, daemon=True,
                         args=(plain, int(upstream_port), certificate,
                               key)).start()


if __name__ == '__main__':
    main()
