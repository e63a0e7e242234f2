"""streaming.py: Snowpipe Streaming, the high-performance architecture, by REST

Appends are taken at once and committed later, in order, by a thread.  What is
not committed when a channel is opened anew, becomes invalid, or when the
process dies, is gone.  Rows that the table cannot hold are dropped and
counted.  What is committed and the channel's offset token change in one
transaction of the engine's.
"""

import json
import re
import threading
import time
import uuid

import jwt
import zstandard

SECRET = 'of this process, long enough for HS256'
LIMIT = 4 * 1024 * 1024
GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
CHANNEL = re.compile(r'/v2/streaming/databases/([^/]+)/schemas/([^/]+)'
                     r'/pipes/([^/]+)/channels/([^/]+)$')
ROWS = re.compile(r'/v2/streaming/data/databases/([^/]+)/schemas/([^/]+)'
                  r'/pipes/([^/]+)/channels/([^/]+)/rows$')
STATUS = re.compile(r'/v2/streaming/databases/([^/]+)/schemas/([^/]+)'
                    r'/pipes/([^/:]+):bulk-channel-status$')


class Refused(Exception):
    def __init__(self, status, code, text):
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


class Channel:
    def __init__(self, key, committed=None, inserted=0, errors=0):
        self.key = key
        self.committed = committed
        self.inserted = inserted
        self.errors = errors
        self.client = uuid.uuid4().hex[:8]
        self.row = 0
        self.valid = True
        self.pending = []           # (due, lines, offset token)

    def continuation(self):
        return f'{self.client}_{self.row}'

    def invalidate(self):
        self.valid = False
        self.pending = []


class Streaming:
    def __init__(self, server):
        self.server = server
        self.engine = server.engine
        self.lock = threading.RLock()
        self.channels = {}
        self.revoked = 0
        self.pace = threading.Event()       # nobody sets it
        self.holding = threading.Event()    # nothing is committed
        with self.engine.lock:
            self.engine.duck.execute(
                f'CREATE TABLE IF NOT EXISTS {self.state_table()} (key TEXT'
                ' PRIMARY KEY, committed TEXT, inserted BIGINT,'
                ' errors BIGINT)')
        threading.Thread(target=self.commit_for_ever, daemon=True).start()

    def state_table(self):
        options = self.server.options
        return f'"{options.database}"."{options.schema}"."_channels"'

    # Tokens.

    def host_of(self, headers):
        """Who takes rows: whoever is asked, or what an option says."""
        name, host = self.server.options.ingest_name, headers['Host']
        return f'{name}:{host.split(":")[1]}' if name else host

    def scoped_token(self, form, host):
        if form.get('grant_type') != GRANT or form.get('scope') != host:
            raise Refused(400, '390142', 'grant_type or scope is wrong')
        return jwt.encode({'scope': host, 'made': self.revoked,
                           'exp': int(time.time()) + 3600}, SECRET,
                          algorithm='HS256')

    def check(self, headers):
        scheme, _, token = (headers.get('Authorization') or '').partition(' ')
        try:
            claims = jwt.decode(token, SECRET, algorithms=['HS256'])
        except jwt.PyJWTError as error:
            raise Refused(401, '390303', f'Invalid token: {error}') from None
        if (scheme != 'Bearer' or claims['made'] != self.revoked
                or claims['scope'] != headers.get('Host')
                or headers.get('X-Snowflake-Authorization-Token-Type')
                != 'OAUTH'):
            raise Refused(401, '390303', 'Invalid token')

    # Channels.

    def table_of(self, database, schema, pipe):
        options = self.server.options
        if (database != options.database or schema != options.schema
                or not pipe.endswith('-STREAMING')):
            raise Refused(404, 'ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED',
                          'The pipe does not exist or is not authorized.')
        table = pipe[:-len('-STREAMING')]
        try:
            names, rows = self.engine.run(
                f'DESCRIBE TABLE "{database}"."{schema}"."{table}"')
        except Exception:
            raise Refused(404, 'ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED',
                          'The table does not exist or is not authorized.'
                          ) from None
        return (f'"{database}"."{schema}"."{table}"',
                {row[0]: (row[1], row[3] == 'Y') for row in rows})

    def open(self, parts, body):
        database, schema, pipe, name = parts
        self.table_of(database, schema, pipe)
        if body.get('offset_token') or set(body) - {
                'offset_token', 'fail_on_uncommitted_rows'}:
            raise Refused(400, 'ERR_BODY', 'offset_token')
        key = '/'.join(parts)
        with self.lock:
            old = self.channels.get(key)
            if old:
                old.invalidate()
            with self.engine.lock:
                kept = self.engine.duck.execute(
                    f'SELECT committed, inserted, errors FROM'
                    f' {self.state_table()} WHERE key = ?', [key]).fetchone()
            channel = Channel(key, *(kept or ()))
            self.channels[key] = channel
            self.keep(channel)
            return {'next_continuation_token': channel.continuation(),
                    'channel_status': self.status_of(channel, name,
                                                     'rows_error_count')}

    def keep(self, channel):
        with self.engine.lock:
            self.engine.duck.execute(*self.kept(channel))

    def kept(self, channel):
        return (f'INSERT OR REPLACE INTO {self.state_table()}'
                ' VALUES (?, ?, ?, ?)',
                [channel.key, channel.committed, channel.inserted,
                 channel.errors])

    def status_of(self, channel, name, errors):
        return {'channel_name': name,
                'channel_status_code':
                    'SUCCESS' if channel.valid else 'ERR_CHANNEL_INVALID',
                'last_committed_offset_token': channel.committed,
                'rows_inserted': channel.inserted,
                'rows_parsed': channel.inserted + channel.errors,
                errors: channel.errors}

    def channel(self, parts):
        channel = self.channels.get('/'.join(parts))
        if channel is None:
            raise Refused(404,
                          'ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED',
                          'The channel does not exist or is not authorized.')
        return channel

    def drop(self, parts):
        with self.lock, self.engine.lock:
            channel = self.channels.pop('/'.join(parts), None)
            if channel:
                channel.invalidate()
            self.engine.duck.execute(
                f'DELETE FROM {self.state_table()} WHERE key = ?',
                ['/'.join(parts)])
        return {}

    def status(self, parts, body):
        names = body['channel_names']
        with self.lock:
            return {'channel_statuses': {
                name: self.status_of(self.channels['/'.join((*parts, name))],
                                     name, 'rows_errors')
                for name in names
                if '/'.join((*parts, name)) in self.channels}}

    # Rows.

    def append(self, parts, params, headers, data):
        if set(params) != {'continuationToken', 'startOffsetToken',
                           'endOffsetToken', 'requestId'}:
            raise Refused(400, 'ERR_PARAMETERS', f'{sorted(params)}')
        if headers.get('Content-Type') != 'application/x-ndjson':
            raise Refused(415, 'ERR_CONTENT_TYPE', 'Content-Type')
        if len(data) >= LIMIT:
            raise Refused(413, 'ERR_PAYLOAD_TOO_LARGE', '4 MB')
        if headers.get('Content-Encoding') == 'zstd':
            data = zstandard.ZstdDecompressor().decompressobj() \
                .decompress(data)
        lines = [(json.loads(line), line.decode())
                 for line in data.split(b'\n') if line.strip()]
        with self.lock:
            channel = self.channel(parts)
            if not channel.valid:
                raise Refused(409, 'ERR_CHANNEL_MUST_BE_REOPENED',
                              'The channel must be reopened.')
            if params['continuationToken'] != channel.continuation():
                raise Refused(400, 'STALE_CONTINUATION_TOKEN_SEQUENCER',
                              'Channel sequencer in the continuation token'
                              ' is stale. Please reopen the channel.')
            channel.row += len(lines)
            channel.pending.append((
                time.monotonic() + self.server.options.commit_delay / 1000,
                lines, params['endOffsetToken']))
            return {'next_continuation_token': channel.continuation()}

    def commit_for_ever(self):
        while True:
            self.pace.wait(0.02)
            with self.lock:
                for channel in list(self.channels.values()):
                    while (channel.pending and not self.holding.is_set()
                           and channel.pending[0][0] <= time.monotonic()):
                        self.commit(channel, *channel.pending.pop(0)[1:])

    def commit(self, channel, lines, offset_token):
        """Both or nothing; a table that has gone takes the channel along."""
        if self.server.options.no_executor:
            good = lines
        else:
            try:
                table, columns = self.table_of(*channel.key.split('/')[:3])
            except Refused:
                channel.invalidate()
                return
            poison = self.server.poison_of(table)
            good = [line for line in lines
                    if fits(line[0], columns, poison)]
        channel.errors += len(lines) - len(good)
        channel.inserted += len(good)
        channel.committed = offset_token
        with self.engine.lock:
            duck = self.engine.duck
            duck.execute('BEGIN')
            if good and not self.server.options.no_executor:
                duck.execute(insertion(table, columns),
                             [f'[{",".join(raw for _, raw in good)}]'])
            duck.execute(*self.kept(channel))
            duck.execute('COMMIT')

    def invalidate_all(self):
        with self.lock:
            for channel in self.channels.values():
                channel.invalidate()


def fits(line, columns, poison):
    """Would Snowflake take the row?"""
    if not set(line) <= set(columns):
        return False
    if any(value in poison for value in line.values()
           if isinstance(value, str)):
        return False
    for name, (kind, nullable) in columns.items():
        value = line.get(name)
        if value is None:
            if not nullable:
                return False
        elif kind.startswith('NUMBER') and not isinstance(
                value, (int, float)) and not re.fullmatch(
                    r'-?\d+(\.\d+)?', value):
            return False
    return True


def insertion(table, columns):
    """Rows of one bind, by the names of their columns."""
    values = []
    for name, (kind, _) in columns.items():
        path = "'$.\"" + name + "\"'"
        if kind == 'VARIANT':
            values.append(f'json_extract(value, {path})')
        else:
            cast = ('TIMESTAMP' if kind.startswith('TIMESTAMP') else
                    'DOUBLE' if kind == 'FLOAT' else
                    kind.replace('NUMBER', 'DECIMAL')
                    if kind.startswith('NUMBER') else 'VARCHAR')
            values.append(f'CAST(json_extract_string(value, {path}) AS'
                          f' {cast})')
    names = ', '.join(f'"{name}"' for name in columns)
    return (f'INSERT INTO {table} ({names}) SELECT {", ".join(values)} FROM'
            " (SELECT unnest(from_json(CAST(? AS JSON), '[\"JSON\"]'))"
            ' AS value)')
