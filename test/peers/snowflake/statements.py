"""statements.py: the life of a statement of the SQL API

Submitted under a requestId, run by a thread of its own, asked for by its
handle.  A requestId that comes again must say retry=true; the statement is
then not run again if it has succeeded, waited for if it runs, and run again
if it failed.
"""

import re
import threading
import time
import uuid

from engine import SQLError, cell

MEGABYTE = 1000000
ANSWER_AFTER = 45
FREE = re.compile(r'(DESC|CREATE|ALTER|SELECT CURRENT_VERSION)', re.I)
FIELDS = {'statement', 'timeout', 'database', 'schema', 'warehouse', 'role',
          'bindings', 'parameters'}
PARAMETERS = {'query_tag', 'timezone'}


class BadRequest(Exception):
    """HTTP 400."""


class Statement:
    def __init__(self, request_id, body, number):
        self.handle = str(uuid.uuid4())
        self.request_id = request_id
        self.sql = body['statement']
        self.timeout = body.get('timeout', 0)
        self.binds = binds_of(body)
        self.body = body
        self.number = number
        self.created = time.time()
        self.done = threading.Event()
        self.cancelled = threading.Event()
        self.failure = None
        self.names = self.rows = None
        self.polls = 0              # so often it is still running

    @property
    def succeeded(self):
        return self.done.is_set() and self.failure is None


def binds_of(body):
    bindings = body.get('bindings', {})
    found = []
    for position in range(1, len(bindings) + 1):
        bind = bindings.get(str(position))
        if (not isinstance(bind, dict) or set(bind) != {'type', 'value'}
                or bind['type'] != 'TEXT'
                or not isinstance(bind['value'], str)):
            raise BadRequest(f'bind {position}')
        found.append(bind['value'])
    return found


class Statements:
    def __init__(self, server):
        self.server = server
        self.lock = threading.Lock()
        self.by_handle = {}
        self.by_request = {}
        self.succeeded = {entry['request_id']: entry.get('inserted')
                          for entry in server.journal.entries()
                          if entry.get('state') == 'succeeded'}

    def submit(self, request_id, retry, body, delay=None):
        """The statement, which runs or has ended."""
        check_body(body)
        with self.lock:
            known = self.by_request.get(request_id)
            seen = known is not None or request_id in self.succeeded
            if seen and not retry:
                raise BadRequest('requestId was used before, and retry is not'
                                 ' true')
            number = self.server.journal.begin(
                request_id=request_id, retry=retry, sql=body['statement'],
                timeout=body.get('timeout'),
                rows=sum(bind.count('{"a":') for bind in binds_of(body)))
            if known is not None and (known.succeeded
                                      or not known.done.is_set()):
                self.server.journal.note(number, state='repeated')
                return known
            statement = Statement(request_id, body, number)
            if known is None and seen:
                self._replay(statement)
            self.by_request[request_id] = statement
            self.by_handle[statement.handle] = statement
        if not statement.done.is_set():
            threading.Thread(target=self._run, args=(statement, delay),
                             daemon=True).start()
        return statement

    def _replay(self, statement):
        """Succeeded before a restart."""
        inserted = self.succeeded[statement.request_id]
        statement.names = ['number of rows inserted']
        statement.rows = [[inserted]]
        statement.done.set()
        self.server.journal.note(statement.number, state='repeated')

    def _run(self, statement, delay):
        note = self.server.journal.note
        if delay and statement.cancelled.wait(delay):
            statement.failure = SQLError('000604', '57014',
                                         'SQL execution canceled')
        elif delay and 0 < statement.timeout < delay:
            statement.failure = SQLError(
                '000630', '57014', 'Statement reached its statement or'
                ' warehouse timeout and was canceled.')
        else:
            try:
                self.check(statement)
                statement.names, statement.rows = self.execute(statement)
            except SQLError as error:
                statement.failure = error
        if statement.failure:
            note(statement.number, state='failed',
                 code=statement.failure.code)
        else:
            note(statement.number, state='succeeded',
                 inserted=inserted(statement))
        statement.done.set()

    def check(self, statement):
        """What Snowflake finds wrong before it runs anything."""
        options = self.server.options
        body, sql = statement.body, statement.sql
        if (body.get('database', options.database) != options.database
                or body.get('schema', options.schema) != options.schema):
            raise SQLError('002043', '02000', 'SQL compilation error:\nObject'
                           ' does not exist, or operation cannot be'
                           ' performed.')
        if body.get('role', options.role) != options.role:
            raise SQLError('390189', '08001', f"Role '{body['role']}'"
                           f' specified is not granted to this user.')
        if body.get('warehouse') is None and options.default_warehouse:
            pass
        elif (not FREE.match(sql)
              and body.get('warehouse') != options.warehouse):
            raise SQLError('000606', '57P03', 'No active warehouse selected'
                           ' in the current session.')
        if re.search(r'VALUES\s*\([^)]*PARSE_JSON', sql, re.I):
            raise SQLError('002014', '22000', 'SQL compilation error:\nInvalid'
                           ' expression [PARSE_JSON] in VALUES clause')
        if ';' in re.sub(r"'[^']*'|\"[^\"]*\"", '', sql):
            raise SQLError('000008', '0A000', 'Actual statement count 2 did'
                           ' not match the desired statement count 1.')
        if sql.count('?') != len(statement.binds):
            raise SQLError('100132', '22000', 'Bind variables do not match.')
        if sql.startswith('MERGE') and statement.binds and any(
                f'"{value}"' in statement.binds[0]
                for value in self.server.poison_of(sql.split(' ')[2])):
            raise SQLError('100038', '22018', "Numeric value 'secret of the"
                           " event' is not recognized")

    def execute(self, statement):
        if self.server.options.no_executor and statement.binds and \
                statement.sql.startswith('MERGE'):
            rows = statement.binds[0].count('"a":"')
            return ['number of rows inserted'], [[rows]]
        return self.server.engine.run(statement.sql, statement.binds)


def check_body(body):
    if not isinstance(body, dict) or not set(body) <= FIELDS:
        raise BadRequest('unknown field')
    if not isinstance(body.get('statement'), str):
        raise BadRequest('statement')
    if not isinstance(body.get('timeout', 0), int):
        raise BadRequest('timeout')
    if not set(body.get('parameters', {})) <= PARAMETERS:
        raise BadRequest('parameters')
    size = len(body['statement'].encode()) + sum(
        len(bind.encode()) for bind in binds_of(body))
    if size >= MEGABYTE:
        raise BadRequest('a statement with its binds has to be below 1 MB')


def inserted(statement):
    if statement.sql.startswith(('MERGE', 'INSERT')) and statement.rows:
        return int(statement.rows[0][0])
    return None


def result(statement, rows, first, partitions):
    """The body of a 200; first: with what only the first partition has."""
    data = [[cell(value) for value in row] for row in rows]
    if not first:
        return {'data': data}
    answer = {
        'code': '090001', 'sqlState': '00000',
        'message': 'Statement executed successfully.',
        'statementHandle': statement.handle,
        'createdOn': int(statement.created * 1000),
        'statementStatusUrl': f'/api/v2/statements/{statement.handle}',
        'resultSetMetaData': {
            'numRows': len(statement.rows), 'format': 'jsonv2',
            'partitionInfo': [{'rowCount': n} for n in partitions],
            'rowType': [{'name': name, 'type': 'text'}
                        for name in statement.names]},
        'data': data}
    if statement.sql.startswith('MERGE'):
        answer['stats'] = {'numRowsInserted': inserted(statement),
                           'numRowsUpdated': 0, 'numRowsDeleted': 0,
                           'numDuplicateRowsUpdated': 0}
    return answer
