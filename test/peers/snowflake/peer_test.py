#!/usr/bin/env python3
"""peer_test.py: is the double as strict as it says?  Prints TAP.

Usage: peer_test.py PORT PRIVATE_KEY OTHER_PRIVATE_KEY
"""

import base64
import gzip
import hashlib
import json
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import jwt
import zstandard
from cryptography.hazmat.primitives import serialization

PORT, KEY, OTHER = int(sys.argv[1]), sys.argv[2], sys.argv[3]
URL = f'http://127.0.0.1:{PORT}'
COUNT = 0


def check(met, what):
    global COUNT
    COUNT += 1
    print(f'{"ok" if met else "not ok"} {COUNT} - {what}')


def load(path):
    with open(path, 'rb') as file:
        return serialization.load_pem_private_key(file.read(), None)


def token(key, **changes):
    der = load(KEY).public_key().public_bytes(
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    now = int(time.time())
    claims = {'sub': 'MYORG-MYACCOUNT.LEDGER', 'iat': now, 'exp': now + 3540,
              'iss': f'MYORG-MYACCOUNT.LEDGER.SHA256:{fingerprint}'}
    claims.update(changes)
    return jwt.encode(claims, load(key), algorithm='RS256')


def call(method, path, body=None, headers=None, kind='KEYPAIR_JWT',
         bearer=None):
    """Status, body (decoded where it is JSON), headers."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(
        body).encode()
    request = urllib.request.Request(URL + path, data, method=method, headers={
        'Authorization': f'Bearer {bearer or token(KEY)}',
        'X-Snowflake-Authorization-Token-Type': kind,
        'Content-Type': 'application/json', 'User-Agent': 'test',
        **(headers or {})})
    try:
        with urllib.request.urlopen(request) as answer:
            status, data, head = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, data, head = error.code, error.read(), error.headers
    if head.get('Content-Encoding') == 'gzip':
        data = gzip.decompress(data)
    try:
        return status, json.loads(data), head
    except ValueError:
        return status, data.decode(), head


def submit(sql, request_id=None, retry=False, more='', binds=(), **body):
    bindings = {str(i + 1): {'type': 'TEXT', 'value': value}
                for i, value in enumerate(binds)}
    return call('POST', f'/api/v2/statements?requestId='
                f'{request_id or uuid.uuid4()}'
                f'{"&retry=true" if retry else ""}{more}',
                {'statement': sql, 'database': 'APP', 'schema': 'LEDGER',
                 'warehouse': 'WH', 'timeout': 10, **body,
                 **({'bindings': bindings} if bindings else {})})


def check_access():
    path = f'/api/v2/statements?requestId={uuid.uuid4()}'
    body = {'statement': 'SELECT CURRENT_VERSION()'}
    now = int(time.time())
    check(call('POST', path, body)[0] == 200, 'a right token')
    for what, bad in (
            ('another key', token(OTHER)),
            ('another user', token(KEY, sub='MYORG-MYACCOUNT.OTHER')),
            ('another account', token(KEY, sub='OTHER.LEDGER')),
            ('lower case', token(KEY, sub='myorg-myaccount.ledger')),
            ('no fingerprint', token(KEY, iss='MYORG-MYACCOUNT.LEDGER')),
            ('one that has ended', token(KEY, exp=now - 120)),
            ('two hours', token(KEY, exp=now + 7200)),
            ('an old one', token(KEY, iat=now - 3700, exp=now + 60)),
            ('none', 'none')):
        check(call('POST', path, body, bearer=bad)[0] == 401,
              f'refused: {what}')
    check(call('POST', path, body, kind='OAUTH')[0] == 401,
          'refused: the type of another token')


def check_requests():
    first = str(uuid.uuid4())
    sql = 'CREATE TABLE IF NOT EXISTS "APP"."LEDGER"."P" ("N" NUMBER(9,0))'
    insert = 'INSERT INTO "APP"."LEDGER"."P" SELECT 1'
    count = 'SELECT COUNT(*) FROM "APP"."LEDGER"."P"'
    check(submit(sql)[0] == 200, 'a statement')
    check(submit(insert, first)[0] == 200, 'an insert')
    check(submit(insert, first)[0] == 400, 'its requestId without retry')
    check(submit(insert, first, True)[0] == 200, 'its requestId with retry')
    check(submit(count)[1]['data'] == [['1']], 'it was not run again')
    failed = str(uuid.uuid4())
    status, body, _ = submit('SELECT * FROM "APP"."LEDGER"."NONE"', failed)
    check((status, body['code'], body['sqlState']) ==
          (422, '002003', '42S02'), 'a failure has its documented shape')
    check(submit(insert, failed, True)[0] == 200,
          'what failed is run again')
    check(submit(count)[1]['data'] == [['2']], 'that was run')
    check(submit(count, 'none')[0] == 400, 'requestId is a UUID')
    check(submit(count, more='&x=1')[0] == 400, 'unknown parameters')
    check(submit(count, x=1)[0] == 400, 'unknown fields')
    check(submit(count, warehouse='wh')[1]['code'] == '000606',
          'names of warehouses have a case')
    check(submit(count, database='app')[0] == 422, 'databases, too')
    check(submit(count, role='OTHER')[0] == 422, 'a role')
    check(submit('SELECT ?', binds=['a', 'b'])[0] == 422, 'too many binds')
    check(submit('SELECT ?', binds=['x' * 1000000])[0] == 400, '1 MB')
    check(submit('SELECT 1; SELECT 2')[0] == 422, 'two statements')
    check(submit("INSERT INTO \"APP\".\"LEDGER\".\"P\" VALUES"
                 " (PARSE_JSON('1'))")[1]['code'] == '002014',
          'PARSE_JSON in VALUES')


def check_polling():
    status, body, _ = submit('SELECT 7', more='&async=true')
    handle = body['statementHandle']
    check(status == 202, 'asynchronous')
    while status == 202:
        status, body, _ = call('GET', f'/api/v2/statements/{handle}')
    check(body['data'] == [['7']], 'polled')
    check(call('GET', f'/api/v2/statements/{uuid.uuid4()}')[0] == 404,
          'an unknown handle')
    rows = 'SELECT seq FROM (SELECT unnest(range(2500)) AS seq)'
    status, body, _ = submit(rows)
    parts = body['resultSetMetaData']['partitionInfo']
    check([part['rowCount'] for part in parts] == [1000, 1000, 500],
          'partitions')
    status, body, head = call(
        'GET', f'/api/v2/statements/{body["statementHandle"]}?partition=2')
    check(head.get('Content-Encoding') == 'gzip' and len(body['data']) == 500,
          'later ones are compressed')


def append(path, scoped, continuation, rows, begin, end, packed=True):
    data = '\n'.join(map(json.dumps, rows)).encode()
    headers = {'Content-Type': 'application/x-ndjson'}
    if packed:
        data = zstandard.compress(data)
        headers['Content-Encoding'] = 'zstd'
    query = urllib.parse.urlencode({
        'continuationToken': continuation, 'startOffsetToken': begin,
        'endOffsetToken': end, 'requestId': str(uuid.uuid4())})
    return call('POST', f'{path}/rows?{query}', data, headers, 'OAUTH',
                scoped)


def append_cut(path, scoped, continuation, tail):
    """What is answered when the connection ends before the rows."""
    with socket.create_connection(('127.0.0.1', PORT)) as connection:
        connection.sendall((
            f'POST {path}/rows?continuationToken={continuation}'
            '&startOffsetToken=y&endOffsetToken=z&requestId=r HTTP/1.1\r\n'
            f'Host: 127.0.0.1:{PORT}\r\nAuthorization: Bearer {scoped}\r\n'
            'X-Snowflake-Authorization-Token-Type: OAUTH\r\n'
            f'Content-Type: application/x-ndjson\r\n{tail}').encode())
        connection.shutdown(socket.SHUT_WR)
        try:
            return connection.recv(1)
        except ConnectionResetError:
            return b''


def check_streaming():
    host = call('GET', '/v2/streaming/hostname')[1].strip()
    form = urllib.parse.urlencode({
        'grant_type': 'urn:ietf:params:oauth:grant-type:jwt-bearer',
        'scope': host}).encode()
    kind = {'Content-Type': 'application/x-www-form-urlencoded'}
    check(host == f'127.0.0.1:{PORT}', 'the host is told as text')
    scoped = call('POST', '/oauth/token', form, kind)[1]
    check(call('POST', '/oauth/token', form.replace(b'127', b'128'),
               kind)[0] == 400, 'another scope')
    pipe = 'databases/APP/schemas/LEDGER/pipes/P-STREAMING'
    opened = f'/v2/streaming/{pipe}/channels/c'
    rows = f'/v2/streaming/data/{pipe}/channels/c'
    check(call('PUT', opened, {})[0] == 401, 'it needs the scoped token')
    check(call('PUT', opened.replace('P-', 'NONE-'), {}, None, 'OAUTH',
               scoped)[0] == 404, 'a table that is not there')
    first = call('PUT', opened, {}, None, 'OAUTH', scoped)[1]
    check(first['channel_status']['last_committed_offset_token'] is None,
          'a new channel')
    call('POST', '/_hold', b'true')
    status, body, _ = append(rows, scoped, first['next_continuation_token'],
                             [{'N': 1}], 'a', 'a')
    check(status == 200, 'an append')
    check(append(rows, scoped, first['next_continuation_token'], [{'N': 2}],
                 'b', 'b')[1]['code'] == 'STALE_CONTINUATION_TOKEN_SEQUENCER',
          'its continuation token again')
    again = call('PUT', opened, {}, None, 'OAUTH', scoped)[1]
    call('POST', '/_hold', b'false')
    check(again['channel_status']['last_committed_offset_token'] is None,
          'what was not committed is discarded')
    check(append(rows, scoped, body['next_continuation_token'], [{'N': 2}],
                 'b', 'b')[0] == 400, 'the earlier writer is fenced')
    for tail in ('Content-Length: 8\r\n\r\n', 'Content-Length: ', 'Cont'):
        check(append_cut(rows, scoped, again['next_continuation_token'],
                         tail) == b'',
              'an append without its rows is not answered')
    append(rows, scoped, again['next_continuation_token'],
           [{'N': 40}, {'N': 'x'}, {'X': 1}], 'c', 'd')
    status = wait_for(pipe, scoped, 'd')
    check(status['rows_inserted'] == 1 and status['rows_errors'] == 2,
          'rows that do not fit are dropped and counted')
    check(submit('SELECT MAX("N") FROM "APP"."LEDGER"."P"')[1]['data'] ==
          [['40']], 'what is committed is in the table')
    big = [{'N': 1, 'X': uuid.uuid4().hex * 1000} for _ in range(200)]
    check(append(rows, scoped, 'x', big, 'e', 'e', packed=False)[0] == 413,
          '4 MB')


def wait_for(pipe, scoped, offset):
    deadline = time.monotonic() + 60
    while True:
        status = call('POST', f'/v2/streaming/{pipe}:bulk-channel-status',
                      {'channel_names': ['c', 'none']}, None, 'OAUTH',
                      scoped)[1]['channel_statuses']
        if (status['c']['last_committed_offset_token'] == offset
                or time.monotonic() > deadline):
            return status['c']


check_access()
check_requests()
check_polling()
check_streaming()
print(f'1..{COUNT}')
