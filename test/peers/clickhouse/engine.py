"""engine.py: the store's engine in this process, and what of it runs now

Each request has a session of its own on the one data directory: settings of
one do not leak into another, and they run at the same time.  One more stays
open as long as the process, for the engine closes its tables with the last.

INSERT reads its data from a file (see statement.py): the engine's streaming
insert reports success for rows that the sink refused.

The engine names its queries itself.  The client's name goes along as the
setting log_comment, by which KILL QUERY finds it; system.processes is
answered from the table of running requests here, which knows more than the
engine: that a request still sends its body, or hangs at a fault point.
"""

import os
import re
import threading
import time

from chdb import session

from statement import identifier, literal

# The codes that are not answered with 500: exceptionCodeToHTTPStatus.cpp of
# the server.
STATUS = {
    400: (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167,
          168, 223, 321, 376, 427, 441, 675, 676),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 209, 439),
}
STATUS_OF_CODE = {code: status for status, codes in STATUS.items()
                  for code in codes}

QUEUE = re.compile(r'\s*CREATE TABLE (?:IF NOT EXISTS )?(\S+) .*'
                   r'\) ENGINE = Kafka\b', re.DOTALL)


class StoreError(Exception):
    """An exception of the store: its code and its text after the code."""

    def __init__(self, code, text, status=None):
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status or STATUS_OF_CODE.get(code, 500)

    @classmethod
    def from_engine(cls, error):
        """Without code and version, which are said twice now and then."""
        text = str(error)
        match = re.match(r'Code: (\d+)\. DB::Exception: ', text)
        code = int(match.group(1)) if match else 1002
        while match:
            text = text[match.end():]
            match = re.match(r'Code: (\d+)\. DB::Exception: ', text)
        text = re.sub(r' \(version [^)]*\)\.( \([A-Z_]+\))?$', '', text)
        # A server knows nothing of the file that the data came in.
        text = re.sub(r': \(in file/uri [^)]*\)', '', text)
        text = text.replace(': While executing File: data for INSERT was'
                            ' parsed from file', '')
        return cls(code, text.strip())


class Request:
    """A statement that was accepted and has not ended.

    cancelled is set by KILL QUERY; on_cancel, if there is one, wakes a
    request that reads its body.
    """

    def __init__(self, query_id, user, query, database):
        self.query_id = query_id
        self.user = user
        self.query = query
        self.database = database
        self.started = time.monotonic()
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self.in_engine = False
        self.on_cancel = None

    def check(self):
        if self.cancelled.is_set():
            raise StoreError(394, 'Query was cancelled.'
                             ' (QUERY_WAS_CANCELLED)')


class Answer:
    """What the engine said: bytes and counts."""

    def __init__(self, data=b'', read_rows=0, read_bytes=0, written_rows=0,
                 written_bytes=0, elapsed=0.0):
        self.data = data
        self.read_rows = read_rows
        self.read_bytes = read_bytes
        self.written_rows = written_rows
        self.written_bytes = written_bytes
        self.elapsed = elapsed


class Engine:
    def __init__(self, directory):
        if re.search(r"[*?{}'\\]", directory):
            raise SystemExit(f'the data directory "{directory}" has a'
                             ' character that the engine reads as a pattern')
        self.path = os.path.join(directory, 'store')
        self.spool = os.path.join(directory, 'spool')
        os.makedirs(self.path, exist_ok=True)
        os.makedirs(self.spool, exist_ok=True)
        for name in os.listdir(self.spool):
            os.unlink(os.path.join(self.spool, name))
        self.kept_open = session.Session(self.path)
        self.lock = threading.Lock()
        self.requests = {}
        self.version = self._ask('SELECT version()')
        self.timezone = self._ask('SELECT timezone()')

    def _ask(self, sql):
        return self.execute(sql).data.decode().strip()

    def close(self):
        self.kept_open.close()

    def spool_file(self):
        return os.path.join(self.spool, os.urandom(12).hex())

    # Requests.

    def begin(self, request):
        with self.lock:
            if request.query_id in self.requests:
                raise StoreError(216, f'Query with id = {request.query_id}'
                                 ' is already running.'
                                 ' (QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)')
            self.requests[request.query_id] = request

    def end(self, request):
        """May be said twice; the id may be another request's by then."""
        with self.lock:
            if self.requests.get(request.query_id) is request:
                del self.requests[request.query_id]
        request.ended.set()

    def kill(self, query_id, wait):
        """Rows of KILL QUERY's answer.  Returns after the request's end if
        wait: then it either was executed as a whole or never will be."""
        with self.lock:
            request = self.requests.get(query_id)
        if request is None:
            return []
        request.cancelled.set()
        if request.on_cancel:
            request.on_cancel()
        while not request.ended.is_set():
            if request.in_engine:
                self.execute("KILL QUERY WHERE Settings['log_comment'] = "
                             f"{literal(query_id)} ASYNC")
            if not wait:
                return [('waiting', query_id, request.user, request.query)]
            request.ended.wait(0.05)
        return [('finished', query_id, request.user, request.query)]

    def processes(self):
        """A table expression that stands for system.processes."""
        now = time.monotonic()
        with self.lock:
            rows = [(1, r.user, r.query_id, now - r.started, r.query,
                     int(r.cancelled.is_set()), r.database)
                    for r in self.requests.values()]
        return table('is_initial_query UInt8, user String, query_id String,'
                     ' elapsed Float64, query String, is_cancelled UInt8,'
                     ' current_database String', rows)

    # Statements.

    def execute(self, sql, settings=None, params=None, database=None,
                readonly=0, result_format='TabSeparated', request=None):
        own = session.Session(self.path)
        try:
            self._prepare(own, settings or {}, database, readonly, request)
            if request:
                request.in_engine = True
                request.check()
            started = time.monotonic()
            result = own.query(sql, result_format, params=params)
            return Answer(result.bytes(), result.rows_read(),
                          result.bytes_read(), result.rows_written(),
                          result.bytes_written(),
                          time.monotonic() - started)
        except StoreError:
            raise
        except Exception as error:
            found = StoreError.from_engine(error)
            if not self._made_all_the_same(sql, found):
                raise found from None
            return Answer()
        finally:
            own.close()
            if request:
                request.in_engine = False

    def _made_all_the_same(self, sql, error):
        """The embedded engine starts no background work for a session that
        is not a server's, says so (49) when a table of the Kafka engine is
        made, and has made it."""
        made = QUEUE.match(sql)
        return (made is not None and error.code == 49
                and 'Shutdown was called' in error.text
                and self._ask(f'EXISTS TABLE {made.group(1)}') == '1')

    def _prepare(self, own, settings, database, readonly, request):
        """All settings in one statement: each costs as much as a query."""
        chosen = {'implicit_select': '0', **settings}
        for name in settings:
            if not re.fullmatch(r'\w+', name):
                raise StoreError(115, f"Unknown setting '{name}'."
                                 ' (UNKNOWN_SETTING)')
        if request:
            chosen['log_comment'] = request.query_id
        if readonly:
            chosen['readonly'] = str(readonly)
        if database and database != 'default':
            own.query(f'USE {identifier(database)}')
        own.query('SET ' + ', '.join(f'{name} = {literal(value)}'
                                     for name, value in chosen.items()))

    def check_syntax(self, sql):
        """Refuse what the server refuses: garbage, several statements."""
        own = session.Session(self.path)
        try:
            own.query(f'SELECT formatQuery({literal(sql)})')
        except Exception as error:
            found = StoreError.from_engine(error)
            found.text = re.sub(r': In scope SELECT formatQuery\(.*\)\.'
                                r' \(SYNTAX_ERROR\)$', '. (SYNTAX_ERROR)',
                                found.text, flags=re.DOTALL)
            raise found from None
        finally:
            own.close()


def table(columns, rows):
    """A table expression of these rows, which may be none."""
    def field(value):
        return literal(value) if isinstance(value, str) else str(value)

    if not rows:
        return f'(SELECT * FROM null({literal(columns)}))'
    listed = ', '.join('(' + ', '.join(map(field, row)) + ')' for row in rows)
    return f'(SELECT * FROM values({literal(columns)}, {listed}))'
