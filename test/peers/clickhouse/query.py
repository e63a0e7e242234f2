"""query.py: one statement on its way from the request to the engine

The order is the server's: who asks, what is asked, the body, the engine.  The
fault points lie between these steps, and the journal has a line for each.

The body is spooled as a whole before the engine sees any of it, so one that
ends early is never executed; the server, which parses while it reads, keeps
that promise for an insert of one block.
"""

import gzip
import os
import socket
import uuid

from body import ShortBody
from engine import Request, StoreError, table
from statement import (KILL, PROCESSES, first_words, parse_insert, unquoted)

# Parameters of the URL that are no settings of the engine.
RESERVED = {'query', 'database', 'default_format', 'query_id', 'user',
            'password', 'quota_key', 'wait_end_of_query', 'buffer_size',
            'stacktrace', 'session_timeout', 'session_check', 'readonly'}
UNSUPPORTED = {'session_id', 'role', 'compress', 'decompress'}

COMPRESSION = {'identity': 'none', 'zstd': 'zstd', 'lz4': 'lz4',
               'gzip': 'gzip', 'deflate': 'deflate', 'br': 'br', 'xz': 'xz',
               'bz2': 'bz2', 'snappy': 'snappy'}


class Query:
    """handler: the HTTP request, of which this uses command, params, headers,
    body, body_pieces and connection."""

    def __init__(self, handler, server):
        self.handler = handler
        self.server = server
        self.params = handler.params
        self.query_id = self.params.get('query_id') or str(uuid.uuid4())
        self.text = self.params.get('query', '')
        self.insert = None
        self.user = None
        self.request = None
        self.entry = None
        self.planned = {}
        self.path = server.engine.spool_file()
        self.compression = None

    def end(self):
        """It runs no more: before its client hears of it."""
        if self.request:
            self.server.engine.end(self.request)

    def close(self):
        self.end()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def note(self, **fields):
        if self.entry is not None:
            self.server.journal.note(self.entry, **fields)

    def gate(self, point):
        """Meet the fault that is planned here, if any."""
        fault = self.planned.pop(point, None)
        if fault is None:
            return
        self.note(fault=f'{point} {fault.action}')
        if point == 'before' and fault.action == 'rst':
            self.handler.await_body()
        fault.act(self.request)
        if point in ('before', 'body', 'commit'):
            self.request.check()

    def run(self):
        """The engine's answer; what goes wrong is raised."""
        self.user = self.server.access.check(self.handler)
        self._check_parameters()
        self.compression = self._compression()
        in_url = self.text.strip() != ''
        if in_url:
            self._accept()
            self.gate('before')
        self._spool_body()
        if in_url:
            self._join()
        else:
            self._split()
            self._accept()
            self.gate('before')
        return self._hand_over()

    def _check_parameters(self):
        for name in sorted(UNSUPPORTED & self.params.keys()):
            if self.params[name] not in ('', '0'):
                raise _unsupported(f'The parameter {name}')
        if self.handler.command == 'POST' and not self.handler.body.given:
            raise StoreError(381, 'There is neither Transfer-Encoding header'
                             ' nor Content-Length header.'
                             ' (HTTP_LENGTH_REQUIRED)')

    def _compression(self):
        given = self.handler.headers.get('Content-Encoding') or 'identity'
        if given.lower() not in COMPRESSION:
            raise StoreError(48, f'Unknown compression method {given}.'
                             ' (NOT_IMPLEMENTED)')
        return COMPRESSION[given.lower()]

    def _accept(self):
        """The statement is known: from here on it runs."""
        self.insert = parse_insert(self.text)
        words = first_words(self.text, 1)
        kind = words[0].lower() if words else ''
        shown = self.insert.head if self.insert else self.text.strip()
        token = self.params.get('insert_deduplication_token')
        request = Request(self.query_id, self.user, shown, self.database())
        self.server.engine.begin(request)
        self.request = request
        self.planned = self.server.faults.plan(kind, shown, token)
        self.entry = self.server.journal.begin(
            query_id=self.query_id, token=token, kind=kind, query=shown[:500])

    def database(self):
        return (self.handler.headers.get('X-ClickHouse-Database')
                or self.params.get('database') or 'default')

    def default_format(self):
        return (self.handler.headers.get('X-ClickHouse-Format')
                or self.params.get('default_format') or 'TabSeparated')

    # The body.

    def _spool_body(self):
        """KILL QUERY ends the reading, too."""
        body = self.handler.body
        fault = self.planned.get('body')
        meet_at = fault.spec.get('bytes', 1) if fault else None
        if self.request:
            self.request.on_cancel = self._stop_reading
        try:
            with open(self.path, 'wb') as file:
                for piece in self.handler.body_pieces():
                    if meet_at is not None and body.count >= meet_at:
                        meet_at = self._meet_in_body(fault, len(piece))
                    file.write(piece)
        except (ShortBody, OSError):
            if self.request:
                self.request.check()
            raise
        finally:
            if self.request:
                self.request.on_cancel = None
        self.planned.pop('body', None)

    def _stop_reading(self):
        # Not the method of an SSLSocket, which would forget its keys.
        socket.socket.shutdown(self.handler.connection, socket.SHUT_RD)

    def _meet_in_body(self, fault, size):
        """Returns at how many bytes to come again, if at all."""
        rate = fault.spec.get('bytes_per_second')
        if fault.action != 'slow' or rate is None:
            self.gate('body')
            return None
        if self.planned.pop('body', None):
            self.note(fault='body slow')
        fault.pause(size / rate, self.request)
        return self.handler.body.count + 1

    def _split(self):
        """The body begins with the statement; data follow an INSERT."""
        with open(self.path, 'rb') as file:
            data = file.read()
        if self.compression == 'gzip':
            data = gzip.decompress(data)
        elif self.compression != 'none':
            raise _unsupported(f'A statement compressed by'
                               f' {self.compression}')
        self.compression = 'none'
        insert = parse_insert(data[:1 << 16].decode('latin-1'))
        if insert is None:
            self.text = data.decode('utf-8', 'replace')
            return
        with open(self.path, 'wb') as file:
            file.write(data[insert.data_at:])
        self.text = data[:insert.data_at].decode('utf-8', 'replace')

    def _join(self):
        """The URL has the statement.  Data of an INSERT may begin there, any
        other goes on in the body."""
        length = os.path.getsize(self.path)
        if self.insert is None:
            if length > 0:
                with open(self.path, encoding='utf-8',
                          errors='replace') as file:
                    self.text = f'{self.text}\n{file.read()}'
            return
        inline = self.text[self.insert.data_at:].strip()
        if not inline:
            return
        if length > 0 and self.compression != 'none':
            raise _unsupported('An INSERT with data both in the URL and,'
                               ' compressed, in the body')
        with open(self.path, 'rb') as file:
            data = file.read()
        with open(self.path, 'wb') as file:
            file.write(inline.encode() + b'\n' + data)
        self.compression = 'none'

    # The engine.

    def _hand_over(self):
        sql = self._statement()
        self.gate('commit')
        self.note(state='handed', bytes=self.handler.body.count)
        answer = self._execute(sql)
        self.note(state='executed', rows=answer.written_rows)
        self.end()
        fault = self.planned.get('committed')
        self.gate('committed')
        if fault and fault.action == 'rows':
            answer.written_rows = fault.spec['rows']
        return answer

    def _statement(self):
        """What the engine is given."""
        engine = self.server.engine
        asked = KILL.match(self.text)
        if asked:
            return self._kill(asked)
        if self.insert is None:
            engine.check_syntax(self.text)
            return PROCESSES.sub(lambda _: engine.processes(), self.text)
        engine.check_syntax(self.insert.head)
        return self.insert.from_file(self.path, self.compression)

    def _kill(self, asked):
        """KILL QUERY is done here; its answer is a table like any other."""
        wanted = unquoted(asked['id'])
        if self._readonly() != '0':
            raise StoreError(164, f'{self.user}: Cannot execute query in'
                             ' readonly mode. (READONLY)')
        rows = []
        if wanted != self.query_id:
            rows = self.server.engine.kill(
                wanted, (asked['mode'] or '').upper() == 'SYNC')
        form = asked['format'] or self.default_format()
        columns = ('kill_status String, query_id String, user String,'
                   ' query String')
        return f'SELECT * FROM {table(columns, rows)} FORMAT {form}'

    def _readonly(self):
        """GET is for reading."""
        given = self.params.get('readonly', '0')
        if given not in ('0', '1', '2'):
            raise StoreError(72, f"Cannot parse '{given}' as the setting"
                             ' readonly. (CANNOT_PARSE_NUMBER)')
        return '2' if self.handler.command == 'GET' and given == '0' \
            else given

    def _execute(self, sql):
        settings, values = {}, {}
        for name, value in self.params.items():
            if name.startswith('param_'):
                values[name[len('param_'):]] = value
            elif name not in RESERVED | UNSUPPORTED:
                settings[name] = value
        return self.server.engine.execute(
            sql, settings, values, self.database(), int(self._readonly()),
            self.default_format(), self.request)


def _unsupported(what):
    return StoreError(48, f'{what} is not supported by this test server.'
                      ' (NOT_IMPLEMENTED)')
