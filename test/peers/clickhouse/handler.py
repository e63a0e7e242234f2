"""handler.py: HTTP/1.1 as the server of the store speaks it

Everything that goes out, goes through send_answer as one string of bytes, so
that a fault may cut it anywhere.
"""

import base64
import json
import os
import socket
import ssl
import struct
import urllib.parse
from http.server import BaseHTTPRequestHandler

from body import MAX_LINE, Body, ShortBody, chunked
from engine import Answer, StoreError
from faults import Disconnect, ExceptionAfter200, ForeignAnswer
from query import Query
from statement import result_format

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
RECEIVE_TIMEOUT = 300


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    # In place of BaseHTTPRequestHandler's.

    def handle_one_request(self):
        """As the original, but that a line may be as long as the server lets
        it, and that an idle connection is closed as it does it."""
        self.query = None
        try:
            self.connection.settimeout(self.server.options.keep_alive)
            self.raw_requestline = self.rfile.readline(MAX_LINE + 1)
            if not self.raw_requestline:
                self.close_connection = True
                return
            self.connection.settimeout(RECEIVE_TIMEOUT)
            if len(self.raw_requestline) > MAX_LINE:
                self.requestline = self.request_version = self.command = ''
                self.send_error(414)
            elif self.parse_request():
                self.respond()
        except Disconnect as drop:
            self.drop(drop.reset)
        except (ShortBody, OSError):
            self.close_connection = True

    def parse_request(self):
        self.expects_100 = False
        return super().parse_request()

    def handle_expect_100(self):
        """Not yet: a fault may come before."""
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
            os.close(self.connection.detach())

    # Dispatch.

    def respond(self):
        url = urllib.parse.urlsplit(self.path)
        self.params = dict(urllib.parse.parse_qsl(
            url.query, keep_blank_values=True))
        try:
            self.body = Body(self.headers, self.rfile)
        except ValueError:
            self.close_connection = True
            self.send_error(400)
            return
        if self.command not in ('GET', 'POST', 'DELETE'):
            self.send_plain(501, 'Method is not implemented\n')
        elif url.path.startswith('/_'):
            self.administer(f'{self.command} {url.path}')
        elif url.path in ('/ping', '/replicas_status'):
            self.send_plain(200, 'Ok.\n')
        elif url.path == '/':
            self.respond_query()
        else:
            self.send_plain(404, f'There is no handle {url.path}\n')

    def administer(self, what):
        """Faults and journal: for tests, no part of the store."""
        faults, journal = self.server.faults, self.server.journal
        data = b''.join(self.body_pieces())
        try:
            if what == 'POST /_faults':
                result = faults.add(json.loads(data))
            elif what == 'GET /_faults':
                result = faults.report()
            elif what == 'DELETE /_faults':
                result = faults.clear()
            elif what == 'GET /_journal':
                result = journal.entries()
            else:
                self.send_plain(404, f'There is no {what}\n')
                return
        except (ValueError, AttributeError) as error:
            self.send_plain(400, f'{error}\n')
            return
        self.send_plain(200, json.dumps(result) + '\n', 'application/json')

    def respond_query(self):
        self.query = Query(self, self.server)
        try:
            self.succeed(self.query.run())
        except StoreError as error:
            self.refuse(error)
        except ExceptionAfter200 as late:
            self.refuse_late(late)
        except ForeignAnswer as answer:
            self.answer_foreign(answer)
        except Disconnect:
            self.query.note(state='dropped')
            raise
        except ShortBody:
            self.query.note(state='short body')
            raise
        finally:
            self.query.close()

    def await_body(self):
        """Until some of it is here, so that the client has begun to send it;
        one that waits to be asked has not."""
        if not self.expects_100 and not self.body.ended:
            self.rfile.peek(1)

    def body_pieces(self):
        """The body, for which a careful client waits to be asked."""
        if self.expects_100 and not self.body.ended:
            self.expects_100 = False
            self.wfile.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        return self.body.pieces()

    # Answers.

    def succeed(self, answer, more=None):
        query = self.query
        form = query.insert is None and result_format(query.request.query)
        form = form or query.default_format()
        headers = {
            'Content-Type': CONTENT_TYPE.get(form,
                                             'text/plain; charset=UTF-8'),
            'X-ClickHouse-Format': form,
            'X-ClickHouse-Summary': summary(answer)}
        headers.update(more or {})
        self.send_result(200, headers, answer.data)
        query.note(state='answered', status=200)

    def refuse(self, error):
        self.query.end()
        early = not self.body.ended
        self.send_result(error.status, {
            'Content-Type': 'text/plain; charset=UTF-8',
            'X-ClickHouse-Exception-Code': str(error.code),
            'X-ClickHouse-Summary': summary(Answer())},
            self.exception_text(error).encode())
        self.query.note(state='refused', status=error.status,
                        code=error.code, text=error.text[:500])
        if early:
            self.linger()

    def refuse_late(self, late):
        """As the server does when it has sent its 200 already: by a block
        after the result, or, in its older versions, by the text alone."""
        tag = base64.b32encode(os.urandom(10)).decode()
        text = self.exception_text(late.error)
        more = None
        self.query.end()
        if late.tagged:
            more = {'X-ClickHouse-Exception-Tag': tag}
            text = (f'__exception__\r\n{tag}\r\n{text}'
                    f'{len(text.encode())} {tag}\r\n__exception__\r\n')
        self.succeed(Answer(text.encode()), more)
        self.query.note(state='refused', status=200, code=late.error.code)

    def answer_foreign(self, answer):
        self.query.end()
        early = not self.body.ended
        self.close_connection = self.close_connection or early
        data = answer.text.encode()
        self.send_answer(answer.status, {
            'Content-Type': 'text/html',
            'Content-Length': str(len(data)), **answer.headers}, data)
        self.query.note(state='refused', status=answer.status)
        if early:
            self.linger()

    def exception_text(self, error):
        return (f'Code: {error.code}. DB::Exception: {error.text} (version'
                f' {self.server.engine.version} (official build))\n')

    def send_result(self, status, headers, data):
        if not self.body.ended:
            self.close_connection = True
        common = {
            'X-ClickHouse-Query-Id': self.query.query_id,
            'X-ClickHouse-Server-Display-Name': self.server.display_name,
            'X-ClickHouse-Timezone': self.server.engine.timezone,
            'Transfer-Encoding': 'chunked'}
        self.send_answer(status, {**common, **headers}, chunked(data))

    def send_plain(self, status, text, content_type='text/html'):
        if self.expects_100 and not self.body.ended:
            self.close_connection = True
        else:
            for _ in self.body.pieces():
                pass
        data = text.encode()
        self.send_answer(status, {
            'Content-Type': f'{content_type}; charset=UTF-8',
            'Content-Length': str(len(data))}, data)

    def send_answer(self, status, headers, body):
        keep = self.server.options.keep_alive
        lines = [f'HTTP/1.1 {status} {self.responses[status][0]}',
                 f'Date: {self.date_time_string()}']
        if self.close_connection:
            lines.append('Connection: Close')
        else:
            lines += ['Connection: Keep-Alive', f'Keep-Alive: timeout={keep}']
        lines += [f'{name}: {value}' for name, value in headers.items()]
        data = ('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1',
                                                        'replace') + body
        fault = self.query and self.query.planned.get('answer')
        if fault:
            sent = min(fault.spec.get('bytes', len(data) // 2), len(data))
            self.connection.sendall(data[:sent])
            data = data[sent:]
            self.query.gate('answer')
        self.connection.sendall(data)

    def linger(self):
        """The client still sends: let it read its answer before the rest of
        its body meets a closed socket."""
        self.connection.settimeout(5)
        try:
            socket.socket.shutdown(self.connection, socket.SHUT_WR)
            while socket.socket.recv(self.connection, 1 << 16):
                pass
        except (OSError, ssl.SSLError):
            pass


def summary(answer):
    numbers = {
        'read_rows': answer.read_rows,
        'read_bytes': answer.read_bytes,
        'written_rows': answer.written_rows,
        'written_bytes': answer.written_bytes,
        'total_rows_to_read': 0,
        'result_rows': answer.written_rows,
        'result_bytes': answer.written_bytes,
        'elapsed_ns': int(answer.elapsed * 1e9)}
    return json.dumps({name: str(number) for name, number in numbers.items()},
                      separators=(',', ':'))
