"""handler.py: HTTP/1.1, and what each address means"""

import gzip
import json
import os
import re
import socket
import struct
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler

from access import Denied
from faults import Disconnect, Planned
from statements import ANSWER_AFTER, BadRequest, result
from streaming import CHANNEL, ROWS, STATUS, Refused

STATEMENTS = '/api/v2/statements'
PARAMETERS = {'requestId', 'retry', 'async', 'nullable'}


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    timeout = 120

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        self.serve()

    do_POST = do_PUT = do_DELETE = do_GET

    def serve(self):
        self.url = urllib.parse.urlsplit(self.path)
        self.params = dict(urllib.parse.parse_qsl(
            self.url.query, keep_blank_values=True))
        self.planned = {}
        try:
            self.body = self.read_body()
            if self.url.path.startswith('/_'):
                self.administer(f'{self.command} {self.url.path}')
            elif (self.url.path.startswith('/v2/streaming')
                  or self.url.path == '/oauth/token'):
                self.respond_streaming()
            else:
                self.respond()
        except Disconnect:
            self.drop()
        except OSError:
            self.close_connection = True

    def read_body(self):
        """NB: a head that is cut looks like one with fewer headers."""
        length = self.headers.get('Content-Length')
        if not length:
            if (self.command in ('POST', 'PUT')
                    and not self.url.path.startswith('/_')):
                raise Disconnect
            return b''
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Disconnect
        return body

    def drop(self):
        """By a reset: what was sent may be lost."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack('ii', 1, 0))
        os.close(self.connection.detach())

    # The SQL API.

    def respond(self):
        try:
            self.server.access.check(self.headers)
            if not self.headers.get('User-Agent'):
                raise BadRequest('User-Agent is missing')
            if self.url.path == STATEMENTS and self.command == 'POST':
                self.submit()
            elif self.url.path.startswith(STATEMENTS + '/'):
                self.follow(*self.url.path[len(STATEMENTS) + 1:].split('/'))
            else:
                self.answer(404, {'code': '390404', 'message': 'Not found.'})
        except Denied as denied:
            self.answer(401, {'code': denied.code, 'message': denied.text})
        except (BadRequest, ValueError, TypeError) as error:
            self.answer(400, {'code': '390142',
                              'message': f'Incoming request does not contain'
                              f' a valid payload: {error}'})
        except Planned as planned:
            self.answer_planned(planned.spec)

    def gate(self, point):
        fault = self.planned.get(point)
        if fault:
            fault.act()

    def submit(self):
        if self.headers.get('Content-Type') != 'application/json':
            raise BadRequest('Content-Type')
        if not set(self.params) <= PARAMETERS:
            raise BadRequest('parameters')
        request_id = str(uuid.UUID(self.params['requestId']))
        body = json.loads(self.body)
        self.planned = self.server.faults.plan('submit',
                                               body.get('statement'))
        self.gate('before')
        late = self.chosen('late')
        statement = self.server.statements.submit(
            request_id, self.params.get('retry') == 'true', body,
            late.spec.get('seconds', 1) if late else None)
        if late:
            raise Disconnect
        running = self.chosen('async')
        if running:
            statement.polls = running.spec.get('polls', 2)
        elif self.params.get('async') == 'true':
            statement.polls = 1
        else:
            statement.done.wait(ANSWER_AFTER)
        self.gate('after')
        self.tell(statement, 0)

    def chosen(self, action):
        for fault in self.planned.values():
            if fault.action == action:
                return fault
        return None

    def follow(self, handle, what=None):
        statement = self.server.statements.by_handle.get(handle)
        call = ('cancel' if what == 'cancel' else
                'partition' if 'partition' in self.params else 'poll')
        self.planned = self.server.faults.plan(
            call, statement.sql if statement else None)
        self.gate('before')
        if statement is None:
            self.answer(404, {'code': '391902',
                              'message': 'Unable to get statement.'})
        elif call == 'cancel' and self.command == 'POST':
            statement.cancelled.set()
            statement.polls = 0
            self.answer(200, {'code': '000604', 'sqlState': '57014',
                              'message': 'SQL execution canceled',
                              'statementHandle': handle})
        elif self.command != 'GET':
            self.answer(405, {'code': '390405', 'message': 'Method'})
        else:
            self.gate('after')
            self.tell(statement, int(self.params.get('partition', 0)))

    def tell(self, statement, partition):
        """What is known of a statement."""
        if statement.polls > 0 or not statement.done.is_set():
            statement.polls -= 1
            self.answer(202, {
                'code': '333334', 'statementHandle': statement.handle,
                'message': 'Asynchronous execution in progress.',
                'statementStatusUrl': f'{STATEMENTS}/{statement.handle}'})
            return
        if statement.failure:
            error = statement.failure
            self.answer(422 if error.code != '000630' else 408, {
                'code': error.code, 'message': error.text,
                'sqlState': error.sqlstate,
                'statementHandle': statement.handle})
            return
        size = self.server.options.partition_rows
        rows = statement.rows
        sizes = [len(rows[i:i + size]) for i in range(0, len(rows), size)]
        if partition > 0 and partition >= len(sizes):
            raise BadRequest('partition')
        part = rows[partition * size:(partition + 1) * size]
        self.answer(200, result(statement, part, partition == 0, sizes or [0]),
                    zipped=partition > 0)

    def answer_planned(self, spec):
        status = spec.get('status', 503)
        headers = {}
        if 'retry_after' in spec:
            headers['Retry-After'] = str(spec['retry_after'])
        if 'code' in spec:
            self.answer(status, {'code': spec['code'],
                                 'sqlState': spec.get('sqlState', '42000'),
                                 'message': spec.get('message', 'planned'),
                                 'statementHandle': str(uuid.uuid4())},
                        headers)
        else:
            self.send(status, spec.get('message', '').encode(),
                      dict(headers, **{'Content-Type': 'text/html'}))

    # Snowpipe Streaming.

    def respond_streaming(self):
        try:
            call, run = self.streaming_call()
            self.planned = self.server.faults.plan(call, self.url.path)
            self.gate('before')
            if self.chosen('invalidate'):
                self.server.streaming.invalidate_all()
            answer = run()
            self.gate('after')
        except Denied as denied:
            self.answer(401, {'code': denied.code, 'message': denied.text})
        except Refused as error:
            self.answer(error.status, {'code': error.code,
                                       'message': error.text})
        except (BadRequest, ValueError, KeyError, TypeError) as error:
            self.answer(400, {'code': 'ERR_BAD_REQUEST',
                              'message': str(error)})
        except Planned as planned:
            self.answer_planned(planned.spec)
        else:
            if isinstance(answer, str):
                self.send(200, answer.encode(),
                          {'Content-Type': 'text/plain'})
            else:
                self.answer(200, answer)

    def streaming_call(self):
        """Its name, and what carries it out."""
        path, streaming = self.url.path, self.server.streaming
        method = self.command
        if (method, path) == ('GET', '/v2/streaming/hostname'):
            self.server.access.check(self.headers)
            return 'hostname', lambda: streaming.host_of(
                self.headers) + '\n'
        if (method, path) == ('POST', '/oauth/token'):
            self.server.access.check(self.headers)
            form = dict(urllib.parse.parse_qsl(self.body.decode()))
            return 'token', lambda: streaming.scoped_token(
                form, streaming.host_of(self.headers))
        streaming.check(self.headers)
        for pattern, wanted, call, run in (
                (CHANNEL, 'PUT', 'open',
                 lambda parts: streaming.open(parts, self.json())),
                (CHANNEL, 'DELETE', 'drop', streaming.drop),
                (ROWS, 'POST', 'append', lambda parts: streaming.append(
                    parts, self.params, self.headers, self.body)),
                (STATUS, 'POST', 'status',
                 lambda parts: streaming.status(parts, self.json()))):
            match = pattern.match(path)
            if match and method == wanted:
                parts = tuple(urllib.parse.unquote(part)
                              for part in match.groups())
                return call, lambda: run(parts)
        raise Refused(404, 'ERR_NOT_FOUND', 'Not found.')

    # For tests.

    def administer(self, what):
        server = self.server
        try:
            result = {
                'POST /_faults': lambda: server.faults.add(self.json()),
                'GET /_faults': server.faults.report,
                'DELETE /_faults': server.faults.clear,
                'GET /_journal': server.journal.entries,
                'POST /_poison': self.set_poison,
                'POST /_revoke': lambda: self.revoke(self.body.decode()),
                'POST /_key': lambda: server.access.set_key(
                    self.body.decode()),
                'POST /_revoke_scoped': self.revoke_scoped,
                'POST /_hold': lambda: self.hold(json.loads(self.body)),
                'GET /_channels': self.channels,
                'POST /_sql': lambda: self.run_sql(self.body.decode()),
                'GET /_rows': lambda: server.engine.rows(
                    self.params['table']),
                'GET /_streams': server.engine.streams}[what]()
        except KeyError:
            self.answer(404, {'message': f'There is no {what}'})
        except Exception as error:
            self.answer(400, {'message': str(error)})
        else:
            self.answer(200, result)

    def json(self):
        return json.loads(self.body)

    def set_poison(self):
        self.server.poison[self.params.get('table')] = set(self.json())

    def revoke(self, token):
        """All tokens that were made until now, or one."""
        self.server.access.revoke(token)

    def revoke_scoped(self):
        self.server.streaming.revoked += 1

    def hold(self, held):
        """Is nothing committed until further notice?"""
        holding = self.server.streaming.holding
        holding.set() if held else holding.clear()

    def channels(self):
        return [dict(self.server.streaming.status_of(
            channel, key.split('/')[-1], 'rows_error_count'), key=key)
            for key, channel in self.server.streaming.channels.items()]

    def run_sql(self, sql):
        from engine import cell
        _, rows = self.server.engine.run(sql)
        return [[cell(value) for value in row] for row in rows]

    # Answers.

    def answer(self, status, content, headers=None, zipped=False):
        data = json.dumps(content).encode()
        headers = dict(headers or {}, **{'Content-Type': 'application/json'})
        if zipped:
            data = gzip.compress(data, 1)
            headers['Content-Encoding'] = 'gzip'
        self.send(status, data, headers)

    def send(self, status, data, headers):
        self.send_response(status, re.sub(r'\W', ' ', f'{status}'))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()
