"""ask.py URL queries|async|api: ask all that the client can be asked

api is the dashboard's server, in this process; with TOKENLEDGER_USE_ASYNCPG=1
it asks by asyncpg.  A line of JSON for each question: what the client answered,
and what SQL of ours says that it should have.
"""

import asyncio
import json
import sys
from datetime import date, datetime
from types import SimpleNamespace

import psycopg2
import tokenledger
from tokenledger.async_db import AsyncDatabase
from tokenledger.queries import (AsyncTokenLedgerQueries, TokenLedgerQueries,
                                 execute_query)

LEDGER = 'token_ledger.token_ledger_events'
USER, MODEL, APP = 'user 3', 'gpt-4o', 'app 1'

url, how = sys.argv[1:]
tokenledger.configure(database_url=url)
connection = psycopg2.connect(url)
connection.autocommit = True


def ours(columns, period, where='', rest='', values=()):
    """Rows of the ledger, by SQL that is not the client's."""
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT {columns} FROM {LEDGER}'
            f" WHERE now() - \"timestamp\" <= interval '{period}'"
            f' {where} {rest}', values)
        return cursor.fetchall()


def expected_summary(days=30, where='', values=()):
    cost, total, tokens_in, tokens_out, n = ours(
        'sum(cost_usd), sum(total_tokens), sum(input_tokens),'
        ' sum(output_tokens), count(*)', f'{days} days', where,
        values=values)[0]
    return [(cost, total, tokens_in, tokens_out, n, float(cost) / n,
             float(total) / n)]


def expected_projection(days):
    return [(float(ours('sum(cost_usd)', f'{days} days')[0][0]) / days * 30,)]


def expected_models():
    return ours(
        'model, provider, coalesce(sum(cost_usd), 0), count(*),'
        ' sum(total_tokens), coalesce(sum(cost_usd), 0) / count(*)',
        '30 days', rest='GROUP BY model, provider')


def expected_users():
    return ours(
        "CASE WHEN user_id IS NULL THEN 'anonymous' ELSE user_id END,"
        ' coalesce(sum(cost_usd), 0), count(*), sum(total_tokens)',
        '30 days', rest='GROUP BY user_id')


def expected_days(where='', values=()):
    return ours(
        '"timestamp"::date, coalesce(sum(cost_usd), 0), count(*),'
        ' sum(total_tokens)', '30 days', where, 'GROUP BY 1', values)


def expected_hours():
    return ours(
        "date_bin('1 hour', \"timestamp\", '2000-01-01'),"
        ' coalesce(sum(cost_usd), 0), count(*)',
        '24 hours', rest='GROUP BY 1')


def expected_error_rate():
    n, errors, good = ours(
        "count(*), count(*) FILTER (WHERE status = 'error'),"
        " count(*) FILTER (WHERE status = 'success')", '7 days')[0]
    return [(n, errors, errors / n, errors, good)]


def expected_errors():
    return ours('error_type, error_message, model, count(*)', '7 days',
                "AND status = 'error'", 'GROUP BY 1, 2, 3')


def expected_latency():
    return ours(
        'percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms),'
        ' percentile_cont(0.9) WITHIN GROUP (ORDER BY duration_ms),'
        ' percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms),'
        ' percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms),'
        ' avg(duration_ms)', '7 days')


def summary(a):
    return [(a.total_cost, a.total_tokens, a.total_input_tokens,
             a.total_output_tokens, a.total_requests, a.avg_cost_per_request,
             a.avg_tokens_per_request)]


def models(answer):
    return [(a.model, a.provider, a.total_cost, a.total_requests,
             a.total_tokens, a.avg_cost_per_request) for a in answer]


def users(answer):
    return [(a.user_id, a.total_cost, a.total_requests, a.total_tokens)
            for a in answer]


def days_of(answer):
    return [(a.date, a.total_cost, a.total_requests, a.total_tokens)
            for a in answer]


def hours_of(answer):
    return [(a.hour, a.total_cost, a.total_requests) for a in answer]


def error_rate(a):
    return [(a['total_requests'], a['errors'], a['error_rate'],
             a['status_breakdown']['error'],
             a['status_breakdown']['success'])]


def errors_of(answer):
    return [(a['error_type'], a['error_message'], a['model'], a['count'])
            for a in answer]


def latency(a):
    return [tuple(a[f'{name}_ms'] for name in
                  ('p50', 'p90', 'p95', 'p99', 'avg'))]


# Question, method of the client, its arguments, how to read the answer, and
# what it should be.
QUESTIONS = (
    ('summary of 30 days', 'get_cost_summary', {'days': 30}, summary,
     expected_summary),
    ('summary of 7 days', 'get_cost_summary', {'days': 7}, summary,
     lambda: expected_summary(7)),
    ('summary of a user', 'get_cost_summary', {'user_id': USER}, summary,
     lambda: expected_summary(30, 'AND user_id = %s', (USER,))),
    ('summary of a model', 'get_cost_summary', {'model': MODEL}, summary,
     lambda: expected_summary(30, 'AND model = %s', (MODEL,))),
    ('summary of an application', 'get_cost_summary', {'app_name': APP},
     summary, lambda: expected_summary(30, 'AND app_name = %s', (APP,))),
    ('costs by model', 'get_costs_by_model', {'limit': 50}, models,
     expected_models),
    ('costs by user', 'get_costs_by_user', {'limit': 100}, users,
     expected_users),
    ('daily costs', 'get_daily_costs', {}, days_of, expected_days),
    ('daily costs of a user', 'get_daily_costs', {'user_id': USER}, days_of,
     lambda: expected_days('AND user_id = %s', (USER,))),
    ('hourly costs', 'get_hourly_costs', {}, hours_of, expected_hours),
    ('error rate', 'get_error_rate', {}, error_rate, expected_error_rate),
    ('errors', 'get_top_errors', {'limit': 50}, errors_of, expected_errors),
    ('latency', 'get_latency_percentiles', {}, latency, expected_latency),
    ('projected cost', 'get_projected_monthly_cost', {'based_on_days': 7},
     lambda a: [(a,)], lambda: expected_projection(7)),
)


def api_summary(a):
    return [(a.total_cost, a.total_tokens, a.total_input_tokens,
             a.total_output_tokens, a.total_requests, a.avg_cost_per_request,
             a.avg_tokens_per_request, a.projected_monthly_cost)]


def expected_api_summary(days, *more):
    return [expected_summary(days, *more)[0] + expected_projection(7)[0]]


def api_models(answer):
    return [(a.model, a.provider, a.total_cost, a.total_requests,
             a.total_tokens, a.avg_cost_per_request, a.percentage_of_total)
            for a in answer]


def expected_api_models():
    rows = expected_models()
    total = float(sum(row[2] for row in rows))

    return [row + (float(row[2]) / total * 100,) for row in rows]


API = (
    ('/health', lambda a: [(a.status, a.database)],
     lambda: [('ok', 'connected')]),
    ('/api/v1/summary?days=30', api_summary,
     lambda: expected_api_summary(30)),
    (f'/api/v1/summary?days=30&user_id={USER}', api_summary,
     lambda: expected_api_summary(30, 'AND user_id = %s', (USER,))),
    (f'/api/v1/summary?days=30&model={MODEL}&app_name=app 0', api_summary,
     lambda: expected_api_summary(30, 'AND model = %s AND app_name = %s',
                                  (MODEL, 'app 0'))),
    ('/api/v1/costs/by-model?limit=50', api_models, expected_api_models),
    ('/api/v1/costs/by-user?limit=100', users, expected_users),
    ('/api/v1/costs/daily', days_of, expected_days),
    (f'/api/v1/costs/daily?user_id={USER}', days_of,
     lambda: expected_days('AND user_id = %s', (USER,))),
    ('/api/v1/costs/hourly', hours_of, expected_hours),
    ('/api/v1/errors', lambda a: error_rate(plain(a)), expected_error_rate),
    ('/api/v1/errors/top?limit=50',
     lambda answer: errors_of(map(plain, answer)), expected_errors),
    ('/api/v1/latency', lambda a: latency(vars(a)), expected_latency),
)


def plain(a):
    """Dictionaries again, of what was read as objects."""
    if isinstance(a, SimpleNamespace):
        return {name: plain(value) for name, value in vars(a).items()}
    return a


def canonical(rows):
    """Text that is the same for the same answer, whatever the order and the
    types of numbers and times."""
    return '\n'.join(sorted(' | '.join(map(value, row)) for row in rows))


def value(x):
    if x is None or isinstance(x, str):
        try:
            return datetime.fromisoformat(x).isoformat()
        except (TypeError, ValueError):
            return repr(x)
    if isinstance(x, datetime):
        return x.isoformat()
    if isinstance(x, date):
        return datetime(x.year, x.month, x.day).isoformat()
    return f'{float(x):.9g}'


def tell(question, got, expected):
    print(json.dumps({'question': question, 'got': canonical(got),
                      'expected': canonical(expected)}))


def ask_queries():
    queries = TokenLedgerQueries()
    for question, method, parameters, read, expected in QUESTIONS:
        tell(question, read(getattr(queries, method)(**parameters)),
             expected())
    tell('a query of the user\'s own',
         execute_query(f'SELECT count(*) FROM {LEDGER} WHERE model = %s',
                       [MODEL]),
         ours('count(*)', '20000 years', 'AND model = %s', values=(MODEL,)))


async def ask_async():
    database = AsyncDatabase(tokenledger.get_config())
    await database.initialize(create_tables=False, min_size=1, max_size=2)
    queries = AsyncTokenLedgerQueries(database)
    for question, method, parameters, read, expected in QUESTIONS:
        tell(question, read(await getattr(queries, method)(**parameters)),
             expected())
    await database.close()


def ask_api():
    from fastapi.testclient import TestClient
    from tokenledger.server import app

    with TestClient(app) as client:
        for path, read, expected in API:
            response = client.get(path)
            if response.status_code != 200:
                tell(path, [(response.status_code, response.text)],
                     expected())
                continue
            answer = json.loads(response.text,
                                object_hook=lambda d: SimpleNamespace(**d))
            tell(path, read(answer), expected())


if how == 'async':
    asyncio.run(ask_async())
else:
    {'queries': ask_queries, 'api': ask_api}[how]()
