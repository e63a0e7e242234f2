"""clickhouse_client.py PORT COLUMNS: the exporter that a Python programmer
writes, for comparison: a cursor of the server in the ledger, inserts of
10,000 rows through ClickHouse's own client."""

import json
import sys

import clickhouse_connect
import psycopg

port, columns = int(sys.argv[1]), sys.argv[2].split(',')
client = clickhouse_connect.get_client(host='127.0.0.1', port=port,
                                       autogenerate_session_id=False,
                                       compress=False)
with psycopg.connect('dbname=app') as connection:
    with connection.cursor(name='export') as cursor:
        cursor.execute('SELECT ' + ', '.join(columns)
                       + ' FROM token_ledger.token_ledger_events')
        while rows := cursor.fetchmany(10000):
            client.insert('exported',
                          [[json.dumps(value) if isinstance(value, dict)
                            else value for value in row] for row in rows],
                          column_names=columns)
