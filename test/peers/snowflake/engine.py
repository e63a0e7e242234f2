"""engine.py: the SQL, carried out by a public emulator of Snowflake

snowduck translates Snowflake's SQL to that of DuckDB.  Around it:

* LATERAL FLATTEN over a bind value takes the emulator time that grows with
  the square of the rows, so the rows are unfolded into a table beforehand.
* What goes into a VARIANT is taken out of the row there, too: the emulator
  takes a JSON string for JSON.
* CREATE STREAM is only remembered: the emulator has none.
* DESCRIBE of a table that is not there is an error, as Snowflake has it.
"""

import datetime
import decimal
import json
import logging
import os
import re
import threading

from snowduck.connector import Connector

FLATTEN = ('FROM (SELECT PARSE_JSON(?) AS j) b,'
           ' LATERAL FLATTEN(INPUT => b.j) f')
STREAM = re.compile(r'CREATE STREAM IF NOT EXISTS (.+) ON TABLE (.+)'
                    r' APPEND_ONLY = TRUE$')
DESCRIBE = re.compile(r'DESC(?:RIBE)? TABLE (.+)$')
VARIANT = re.compile(r'f\.value:"(\w+)" AS')
EPOCH = datetime.datetime(1970, 1, 1)


class SQLError(Exception):
    def __init__(self, code, sqlstate, text):
        super().__init__(text)
        self.code = code
        self.sqlstate = sqlstate
        self.text = text


class Engine:
    def __init__(self, options):
        logging.disable(logging.WARNING)
        self.lock = threading.Lock()
        self.translations = {}
        self.streams_path = os.path.join(options.data, 'streams.json')
        self.connector = Connector(
            db_file=os.path.join(options.data, 'snow.duckdb'))
        self.connection = self.connector.connect(
            database=options.database, schema=options.schema)
        self.duck = self.connection._duck_conn
        for sql in (f'CREATE DATABASE IF NOT EXISTS "{options.database}"',
                    f'CREATE SCHEMA IF NOT EXISTS'
                    f' "{options.database}"."{options.schema}"'):
            self.run(sql)

    def run(self, sql, binds=()):
        """Names of the columns, and the rows; raises SQLError."""
        with self.lock:
            return self._run(sql, list(binds))

    def _run(self, sql, binds):
        stream = STREAM.match(sql)
        if stream:
            self._require(stream[2])
            self._keep_stream(stream[1], stream[2])
            return ['status'], [['Stream successfully created.']]
        described = DESCRIBE.match(sql)
        if described:
            self._require(described[1])
        if FLATTEN in sql:
            sql, binds = self._unfold(sql, binds)
        try:
            return self._execute(sql, binds)
        except Exception as error:  # whatever the emulator is made of
            raise translated(error) from None

    def _execute(self, sql, binds):
        """What the emulator made of a statement is good for the next one."""
        known = self.translations.get(sql)
        if known is None:
            cursor = self.connection.cursor()
            cursor.execute(sql, binds or None)
            rows = cursor.fetchall()
            names = [column[0] for column in cursor.description or ()]
            if sql.startswith(('MERGE', 'SELECT')) and binds:
                self.translations[sql] = (cursor._last_sql, names)
        else:
            translated_sql, names = known
            rows = self.duck.execute(translated_sql, binds).fetchall()
        return names, [list(row) for row in rows]

    def _require(self, table):
        parts = re.findall(r'"([^"]*)"', table)
        with_name = self.duck.execute(
            'SELECT count(*) FROM information_schema.tables WHERE'
            ' table_catalog = ? AND table_schema = ? AND table_name = ?',
            parts).fetchone()
        if len(parts) != 3 or with_name[0] == 0:
            raise SQLError('002003', '42S02', f"SQL compilation error:\nTable"
                           f" '{'.'.join(parts)}' does not exist or not"
                           f" authorized.")

    def _keep_stream(self, name, table):
        streams = self.streams()
        streams.setdefault(name, table)
        with open(self.streams_path + '.new', 'w', encoding='utf-8') as file:
            json.dump(streams, file)
        os.rename(self.streams_path + '.new', self.streams_path)

    def streams(self):
        try:
            with open(self.streams_path, encoding='utf-8') as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def _unfold(self, sql, binds):
        """The first bind is the array of FLATTEN."""
        variants = ''.join(f", json_extract(value, '$.{key}') AS {key}"
                           for key in VARIANT.findall(sql))
        try:
            self.duck.execute(
                'CREATE OR REPLACE TEMP TABLE unfolded AS SELECT value,'
                f' row_number() OVER () - 1 AS index{variants} FROM (SELECT'
                " unnest(from_json(CAST(? AS JSON), '[\"JSON\"]')) AS value)",
                [binds[0]])
        except Exception as error:
            raise SQLError('100069', '22P02',
                           f'Error parsing JSON: {error}') from None
        sql = VARIANT.sub(r'f.\1 AS', sql)
        return sql.replace(FLATTEN, 'FROM temp.main.unfolded f'), binds[1:]

    def rows(self, table):
        """All of a table, as JSON, for tests to compare."""
        names, rows = self.run(f'SELECT * FROM {table}')
        return [{name.lower(): plain(value)
                 for name, value in zip(names, row)} for row in rows]


def translated(error):
    """In Snowflake's codes, where the emulator has others."""
    text = str(error)
    code = getattr(error, 'errno', None)
    code = f'{code:06d}' if isinstance(code, int) and code > 0 else '001003'
    sqlstate = getattr(error, 'sqlstate', None) or '42000'
    if 'Conversion Error' in text or 'Could not convert' in text:
        code, sqlstate = '100038', '22018'
    elif 'NOT NULL constraint' in text:
        code, sqlstate = '100072', '22000'
    elif 'does not exist' in text and 'Table' in text:
        code, sqlstate = '002003', '42S02'
    elif 'Referenced column' in text or 'does not have a column' in text:
        code, sqlstate = '000904', '42000'
    return SQLError(code, sqlstate, f'SQL compilation error:\n{text}')


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=' ') + '+00'
    if isinstance(value, decimal.Decimal):
        return format(value, 'f')
    if isinstance(value, float):
        return repr(value)
    return value


def cell(value):
    """As the SQL API writes it: text, whatever it is."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, datetime.datetime):
        micros = (value - EPOCH) // datetime.timedelta(microseconds=1)
        return f'{micros // 1000000}.{micros % 1000000:06d}000'
    if isinstance(value, datetime.date):
        return str((value - EPOCH.date()).days)
    if isinstance(value, decimal.Decimal):
        return format(value, 'f')
    return str(value)
