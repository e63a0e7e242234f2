#!/usr/bin/env python3
"""server.py: ClickHouse's HTTP interface in front of its real engine

A server for tests.  The engine (chdb) parses, converts, stores and refuses;
this file speaks HTTP as the server of the store does: parameters and settings
in the URL, statement in the URL or the body, exception code to status, summary
and other headers.  README.md says what is real and what is imitated, and lists
the fault points.  It binds to the loopback interface only.

A body is spooled as a whole before the engine sees any of it: one that ends
early is never executed.
"""

import argparse
import base64
import gzip
import json
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import traceback
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from access import Access
from engine import Answer, Engine, Request, StoreError
from faults import Disconnect, ExceptionAfter200, Faults
from journal import Journal
from statement import (KILL, PROCESSES, first_words, literal, parse_insert,
                       result_format)

# Parameters of the URL that are no settings of the engine.
RESERVED = {'query', 'database', 'default_format', 'query_id', 'user',
            'password', 'quota_key', 'wait_end_of_query', 'buffer_size',
            'stacktrace', 'session_timeout', 'session_check', 'readonly'}
UNSUPPORTED = {'session_id', 'role', 'compress', 'decompress'}
MAX_LINE = 1 << 20


class ShortBody(Exception):
    """The connection ended before the body did."""


class Body:
    """The body of a request, read once, in pieces."""

    def __init__(self, handler):
        self.handler = handler
        self.chunked = 'chunked' in handler.headers.get(
            'Transfer-Encoding', '').lower()
        length = handler.headers.get('Content-Length')
        self.left = int(length) if length and not self.chunked else 0
        self.given = self.chunked or length is not None
        self.count = 0
        self.ended = not self.chunked and self.left == 0

    def pieces(self, size=1 << 18):
        while not self.ended:
            if self.chunked and self.left == 0:
                self._next_chunk()
                continue
            piece = self.handler.rfile.read1(min(size, self.left))
            if not piece:
                raise ShortBody
            self.left -= len(piece)
            self.count += len(piece)
            if self.chunked and self.left == 0:
                self._line()
            self.ended = not self.chunked and self.left == 0
            yield piece

    def _line(self):
        line = self.handler.rfile.readline(MAX_LINE)
        if not line.endswith(b'\n'):
            raise ShortBody
        return line.strip()

    def _next_chunk(self):
        try:
            self.left = int(self._line().split(b';')[0], 16)
        except ValueError:
            raise ShortBody from None
        if self.left == 0:
            while self._line():
                pass
            self.ended = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    timeout = 600

    # What BaseHTTPRequestHandler would do otherwise.

    def handle_one_request(self):
        """As the original, but for the length of the line."""
        try:
            self.raw_requestline = self.rfile.readline(MAX_LINE + 1)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if len(self.raw_requestline) > MAX_LINE:
                self.requestline = self.request_version = self.command = ''
                self.send_error(414)
                return
            if not self.parse_request():
                return
            self.respond()
        except Disconnect as drop:
            self.drop(drop.reset)
        except (ShortBody, ConnectionError, TimeoutError, ssl.SSLError):
            self.drop(False)

    def handle_expect_100(self):
        self.expects_100 = True
        return True

    def log_message(self, format, *args):
        if self.server.options.verbose:
            super().log_message(format, *args)

    def drop(self, reset):
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack('ii', 1, 0))
            self.server.reset(self.connection)

    # Dispatch.

    def parse_request(self):
        self.expects_100 = False
        return super().parse_request()

    def respond(self):
        url = urllib.parse.urlsplit(self.path)
        self.params = dict(urllib.parse.parse_qsl(
            url.query, keep_blank_values=True))
        self.body = Body(self)
        self.planned = {}
        self.entry = None
        if self.command not in ('GET', 'HEAD', 'POST', 'PUT', 'DELETE'):
            self.plain(501, 'Method not implemented\n')
        elif url.path.startswith('/_'):
            self.administer(url.path)
        elif url.path in ('/ping', '/replicas_status'):
            self.plain(200, 'Ok.\n')
        elif url.path != '/':
            self.plain(404, f'There is no handle {url.path}\n')
        else:
            self.respond_query()

    do_GET = do_POST = respond

    def plain(self, status, text, content_type='text/html'):
        self.discard_body()
        body = b'' if self.command == 'HEAD' else text.encode()
        self.send_answer(status, {
            'Content-Type': f'{content_type}; charset=UTF-8',
            'Content-Length': str(len(body))}, body)

    def administer(self, path):
        """Faults and journal: for tests, not part of the store."""
        server = self.server
        try:
            data = b''.join(self.body_pieces())
            result = None
            if path == '/_faults' and self.command == 'POST':
                result = server.faults.add(json.loads(data))
            elif path == '/_faults' and self.command == 'DELETE':
                server.faults.clear()
                result = []
            elif path == '/_faults' and self.command == 'GET':
                result = server.faults.report()
            elif path == '/_journal' and self.command == 'GET':
                result = server.journal.entries()
        except (ValueError, AttributeError) as error:
            self.plain(400, f'{error}\n')
            return
        if result is None:
            self.plain(404, f'no {self.command} {path}\n')
        else:
            self.plain(200, json.dumps(result) + '\n', 'application/json')

    # A statement.

    def respond_query(self):
        self.query_id = self.params.get('query_id') or str(uuid.uuid4())
        self.spooled = []
        self.request_entry = None
        try:
            answer = self.run_query()
            self.succeed(answer)
        except StoreError as error:
            self.refuse(error)
        except ExceptionAfter200 as late:
            self.refuse_late(late)
        except (ShortBody, ConnectionError, TimeoutError):
            self.note(state='short body')
            raise
        except Disconnect:
            self.note(state='dropped')
            raise
        finally:
            if self.request_entry:
                self.server.engine.end(self.request_entry)
            for path in self.spooled:
                if os.path.exists(path):
                    os.unlink(path)

    def note(self, **fields):
        if self.entry is not None:
            self.server.journal.note(self.entry, **fields)

    def gate(self, point):
        fault = self.planned.pop(point, None)
        if fault is None or fault.action == 'rows':
            return fault
        self.note(fault=f'{point} {fault.action}')
        fault.act(self.request_entry)
        if self.request_entry and point != 'committed':
            self.request_entry.check()
        return fault

    def run_query(self):
        self.user = self.server.access.check(self)
        self.check_parameters()
        query = self.params.get('query', '')
        if query.strip():
            self.accept(query)
        self.gate('before')
        path, length = self.spool_body()
        if not query.strip():
            query, path = self.query_of_body(path)
            length = os.path.getsize(path) if path else 0
            self.accept(query)
            self.gate('before')
        else:
            query, path = self.join_data(query, path, length)
        sql = self.statement(query, path)
        self.gate('commit')
        self.note(state='handed', bytes=self.body.count)
        answer = self.execute(sql)
        self.request_entry.in_engine = False
        self.note(state='executed', rows=answer.written_rows)
        self.server.engine.end(self.request_entry)
        fault = self.gate('committed')
        if fault is not None and fault.action == 'rows':
            self.note(fault='committed rows')
            answer.written_rows = fault.spec['rows']
        return answer

    def check_parameters(self):
        for name in sorted(UNSUPPORTED & self.params.keys()):
            if self.params[name] not in ('', '0'):
                raise StoreError(48, f'The parameter {name} is not supported'
                                 ' by this test server. (NOT_IMPLEMENTED)')
        if self.command in ('POST', 'PUT') and not self.body.given:
            raise StoreError(381, 'There is neither Transfer-Encoding header'
                             ' nor Content-Length header.'
                             ' (HTTP_LENGTH_REQUIRED)')

    def accept(self, query):
        """The statement is known: it runs from here on."""
        server = self.server
        self.insert = parse_insert(query)
        words = first_words(query, 1)
        kind = words[0].lower() if words else ''
        shown = self.insert.head if self.insert else query.strip()
        token = self.params.get('insert_deduplication_token')
        request = Request(self.query_id, self.user, shown, self.database())
        server.engine.begin(request)
        self.request_entry = request
        self.planned = server.faults.plan(kind, shown, token)
        self.entry = server.journal.begin(
            query_id=self.query_id, token=token, kind=kind, query=shown[:500])

    def database(self):
        return (self.headers.get('X-ClickHouse-Database')
                or self.params.get('database') or 'default')

    def statement(self, query, path):
        """What the engine is given."""
        server = self.server
        if KILL.match(query):
            return query
        if self.insert is None:
            server.engine.check_syntax(query)
            return PROCESSES.sub(
                lambda match: server.engine.processes(), query)
        server.engine.check_syntax(self.insert.head)
        return self.insert.from_file(path, self.compression())

    def execute(self, sql):
        server = self.server
        asked = KILL.match(sql)
        if asked:
            sql = self.kill(asked)
        settings = {name: value for name, value in self.params.items()
                    if name not in RESERVED | UNSUPPORTED
                    and not name.startswith('param_')}
        params = {name[6:]: value for name, value in self.params.items()
                  if name.startswith('param_')}
        readonly = self.params.get('readonly', '0')
        if self.command in ('GET', 'HEAD') and readonly == '0':
            readonly = '2'
        return server.engine.execute(
            sql, settings, params, self.database(), readonly,
            self.default_format(), self.request_entry)

    def default_format(self):
        return (self.headers.get('X-ClickHouse-Format')
                or self.params.get('default_format') or 'TabSeparated')

    def kill(self, asked):
        from engine import table
        wanted = asked['id'].replace("\\'", "'").replace('\\\\', '\\')
        mode = (asked['mode'] or 'ASYNC').upper()
        if self.command in ('GET', 'HEAD'):
            raise StoreError(164, f'{self.user}: Cannot execute query in'
                             ' readonly mode. (READONLY)')
        rows = self.server.engine.kill(wanted, mode == 'SYNC')
        form = asked['format'] or self.default_format()
        return ('SELECT * FROM ' + table(
            'kill_status String, query_id String, user String, query String',
            rows) + f' FORMAT {form}')

    # The body.

    def body_pieces(self):
        if self.expects_100 and not self.body.ended:
            self.expects_100 = False
            self.wfile.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        return self.body.pieces()

    def discard_body(self):
        """So that the connection can be used again."""
        if self.body.ended:
            return
        if self.expects_100:
            self.close_connection = True
            return
        for _ in self.body.pieces():
            pass

    def spool_body(self):
        """Path and length of a file with all of the body."""
        path = self.server.engine.spool_file()
        self.spooled.append(path)
        fault = self.planned.get('body')
        after = fault.spec.get('bytes', 1) if fault else None
        request = self.request_entry
        if request:
            request.on_cancel = lambda: self.connection.shutdown(
                socket.SHUT_RD)
        try:
            with open(path, 'wb') as file:
                for piece in self.body_pieces():
                    if after is not None and self.body.count >= after:
                        after = self.meet_in_body(fault, len(piece))
                    file.write(piece)
        except ShortBody:
            if request:
                request.check()
            raise
        finally:
            if request:
                request.on_cancel = None
        self.planned.pop('body', None)
        return path, self.body.count

    def meet_in_body(self, fault, size):
        """Returns after how many bytes to come again, if at all."""
        rate = fault.spec.get('bytes_per_second')
        if fault.action == 'slow' and rate:
            if 'body' in self.planned:
                self.note(fault='body slow')
            self.planned.pop('body', None)
            fault.released.wait(size / rate)
            return self.body.count + 1
        self.gate('body')
        return None

    def compression(self):
        wanted = self.headers.get('Content-Encoding', 'identity').lower()
        known = {'identity': 'none', '': 'none', 'zstd': 'zstd',
                 'lz4': 'lz4', 'gzip': 'gzip', 'deflate': 'deflate',
                 'br': 'br', 'xz': 'xz', 'bz2': 'bz2', 'snappy': 'snappy'}
        if wanted not in known:
            raise StoreError(48, f'Unknown compression method {wanted}.'
                             ' (NOT_IMPLEMENTED)')
        return known[wanted]

    def query_of_body(self, path):
        """The statement that the body begins with, and a file with the data
        that follow it."""
        with open(path, 'rb') as file:
            data = file.read()
        if self.compression() == 'gzip':
            data = gzip.decompress(data)
        elif self.compression() != 'none':
            raise StoreError(48, 'A compressed statement is not supported by'
                             ' this test server. (NOT_IMPLEMENTED)')
        self.headers.replace_header('Content-Encoding', 'identity') \
            if 'Content-Encoding' in self.headers else None
        insert = parse_insert(data[:1 << 16].decode('latin-1'))
        if insert is None:
            return data.decode('utf-8', 'surrogateescape'), None
        with open(path, 'wb') as file:
            file.write(data[insert.data_at:])
        return data[:insert.data_at].decode('utf-8'), path

    def join_data(self, query, path, length):
        """Data may begin in the URL; a statement that is no INSERT goes on
        in the body."""
        if self.insert is None:
            if length > 0:
                with open(path, encoding='utf-8') as file:
                    query = f'{query}\n{file.read()}'
            return query, None
        inline = query[self.insert.data_at:].strip()
        if inline and length > 0 and self.compression() != 'none':
            raise StoreError(48, 'Data both in the URL and, compressed, in'
                             ' the body. (NOT_IMPLEMENTED)')
        if inline:
            with open(path, 'rb') as file:
                data = file.read()
            with open(path, 'wb') as file:
                file.write(inline.encode() + b'\n' + data)
        return query, path

    # Answers.

    def common_headers(self):
        headers = {
            'X-ClickHouse-Query-Id': self.query_id,
            'X-ClickHouse-Server-Display-Name': self.server.display_name,
            'X-ClickHouse-Timezone': self.server.engine.timezone}
        return headers

    def summary(self, answer):
        numbers = {
            'read_rows': answer.read_rows, 'read_bytes': answer.read_bytes,
            'written_rows': answer.written_rows,
            'written_bytes': answer.written_bytes, 'total_rows_to_read': 0,
            'result_rows': answer.written_rows,
            'result_bytes': answer.written_bytes,
            'elapsed_ns': int(answer.elapsed * 1e9)}
        return json.dumps({name: str(n) for name, n in numbers.items()},
                          separators=(',', ':'))

    def succeed(self, answer, more=None):
        form = (result_format(self.request_entry.query)
                if self.insert is None else None) or self.default_format()
        headers = self.common_headers()
        headers.update(more or {})
        headers.update({
            'Content-Type': CONTENT_TYPE.get(
                form, 'text/plain; charset=UTF-8'),
            'X-ClickHouse-Format': form,
            'X-ClickHouse-Summary': self.summary(answer),
            'Transfer-Encoding': 'chunked'})
        body = chunks(b'' if self.command == 'HEAD' else answer.data)
        self.send_answer(200, headers, body)
        self.note(state='answered', status=200)

    def refuse(self, error):
        status = getattr(error, 'forced_status', None) or error.status
        body = self.exception_text(error).encode()
        headers = self.common_headers()
        headers.update({
            'Content-Type': 'text/plain; charset=UTF-8',
            'X-ClickHouse-Exception-Code': str(error.code),
            'X-ClickHouse-Summary': self.summary(Answer()),
            'Transfer-Encoding': 'chunked'})
        early = not self.body.ended
        if early:
            self.close_connection = True
        self.send_answer(status, headers, chunks(body))
        self.note(state='refused', status=status, code=error.code,
                  text=error.text[:500])
        if early:
            self.linger()

    def refuse_late(self, late):
        """As the server does when it has sent its 200 already."""
        tag = base64.b32encode(os.urandom(10)).decode()
        text = self.exception_text(late.error)
        more = None
        if late.tagged:
            more = {'X-ClickHouse-Exception-Tag': tag}
            text = (f'__exception__\r\n{tag}\r\n{text}'
                    f'{len(text.encode())} {tag}\r\n__exception__\r\n')
        if not self.body.ended:
            self.close_connection = True
        self.succeed(Answer(text.encode()), more)
        self.note(state='refused', status=200, code=late.error.code)

    def exception_text(self, error):
        return (f'Code: {error.code}. DB::Exception: {error.text}'
                f' (version {self.server.engine.version}'
                ' (official build))\n')

    def linger(self):
        """The client still sends: let it read the answer before the rest of
        its body meets a closed socket."""
        self.connection.settimeout(5)
        try:
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(1 << 16):
                pass
        except OSError:
            pass

    def send_answer(self, status, headers, body):
        lines = [f'HTTP/1.1 {status} {self.responses.get(status, ("",))[0]}',
                 f'Date: {self.date_time_string()}',
                 'Connection: ' + ('Close' if self.close_connection
                                   else 'Keep-Alive')]
        lines += [f'{name}: {value}' for name, value in headers.items()]
        data = '\r\n'.join(lines).encode('latin-1', 'replace')
        data += b'\r\n\r\n' + body
        fault = self.planned.get('answer')
        if fault is not None:
            sent = min(fault.spec.get('bytes', len(data) // 2), len(data))
            self.connection.sendall(data[:sent])
            data = data[sent:]
            self.gate('answer')
        self.connection.sendall(data)


CONTENT_TYPE = {
    'TabSeparated': 'text/tab-separated-values; charset=UTF-8',
    'TSV': 'text/tab-separated-values; charset=UTF-8',
    'CSV': 'text/csv; charset=UTF-8; header=absent',
    'JSON': 'application/json; charset=UTF-8',
    'JSONCompact': 'application/json; charset=UTF-8',
    'JSONEachRow': 'application/x-ndjson; charset=UTF-8',
    'Native': 'application/octet-stream',
    'RowBinary': 'application/octet-stream',
}


def chunks(data, size=1 << 16):
    parts = [data[at:at + size] for at in range(0, len(data), size)]
    return b''.join(b'%x\r\n%b\r\n' % (len(part), part)
                    for part in parts) + b'0\r\n\r\n'


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, options):
        self.options = options
        self.engine = Engine(options.data)
        self.journal = Journal(options.data)
        self.faults = Faults()
        self.access = Access(options)
        self.display_name = socket.gethostname()
        self.tls = tls_context(options)
        super().__init__(('127.0.0.1', options.port), Handler)

    def finish_request(self, request, client_address):
        """In the connection's own thread: a handshake may take its time."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(30)
        try:
            secure = self.tls.wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError) as error:
            if self.options.verbose:
                print(f'TLS: {error}', file=sys.stderr)
            return
        try:
            super().finish_request(secure, client_address)
        finally:
            close(secure)

    def reset(self, connection):
        """Close at once, so that the reset is sent before anything else."""
        raw = connection
        os.close(raw.detach())

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            traceback.print_exc()


def close(connection):
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    connection.close()


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
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--data', required=True, help='directory of all that'
                        ' it keeps; one server at a time')
    parser.add_argument('--port', type=int, default=0, help='0: any')
    parser.add_argument('--port-file', help='the port is written to it as'
                        ' soon as the server answers')
    parser.add_argument('--user', default='default')
    parser.add_argument('--password-file', help='default: no password')
    parser.add_argument('--token-file', help='a bearer token that is'
                        ' accepted as well')
    parser.add_argument('--tls-cert')
    parser.add_argument('--tls-key')
    parser.add_argument('--client-ca', help='demand a client certificate')
    parser.add_argument('--verbose', action='store_true')
    options = parser.parse_args()
    options.data = os.path.abspath(options.data)
    return options


def tell_port(path, port):
    with open(path + '.new', 'w', encoding='ascii') as file:
        file.write(f'{port}\n')
    os.rename(path + '.new', path)


def main():
    options = parse_options()
    server = Server(options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    signal.pthread_sigmask(signal.SIG_BLOCK,
                           {signal.SIGTERM, signal.SIGINT})
    thread.start()
    if options.port_file:
        tell_port(options.port_file, server.server_address[1])
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.shutdown()
    server.engine.close()
    # Threads that hang at a fault point would be waited for otherwise.
    os._exit(0)


if __name__ == '__main__':
    main()
