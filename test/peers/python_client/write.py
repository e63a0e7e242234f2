"""write.py URL BASE [--create] [--psycopg] [PATH...]: write by each of the client's paths

A line of JSON for each path: its name, and what the client says of it: the
number that it claims to have written, or the class of an error.  --create lets
it begin by making its table, as it does by default.  --psycopg hides psycopg2
from it: it then takes the other driver.
"""

import argparse
import asyncio
import json
import logging
import sys
from datetime import datetime

arguments = argparse.ArgumentParser()
arguments.add_argument('url')
arguments.add_argument('base')
arguments.add_argument('--create', action='store_true')
arguments.add_argument('--psycopg', action='store_true')
arguments.add_argument('path', nargs='*')
options = arguments.parse_intermixed_args()
if options.psycopg:
    sys.modules['psycopg2'] = None

# pylint: disable=wrong-import-position
from tokenledger import AsyncTokenTracker, TokenTracker
from tokenledger.async_db import AsyncDatabase
from tokenledger.backends.postgresql import (AsyncPostgreSQLBackend,
                                             PostgreSQLBackend)
from tokenledger.config import TokenLedgerConfig

import events

COUNT = 24


def config(**more):
    return TokenLedgerConfig(database_url=options.url, **more)


def dicts(path, n=COUNT):
    """As the trackers hand them on: times as text."""
    return [e.to_dict() for e in events.events(path, n, options.base)]


def dicts_with_times(path):
    """As asyncpg takes them."""
    return [{**d, 'timestamp': datetime.fromisoformat(d['timestamp'])}
            for d in dicts(path)]


def tracker(path, n=COUNT, **more):
    """Full batches are written on the way, the rest by flush()."""
    client = TokenTracker(config(async_mode=False, batch_size=7),
                          **more)
    client.initialize(create_tables=options.create)
    for event in events.events(path, n, options.base):
        client.track(event)
    written = client.flush()
    client.shutdown()
    return written


def background_tracker(path):
    """A thread of the client's writes, at intervals and at the end."""
    client = TokenTracker(config(async_mode=True, flush_interval_seconds=0.02))
    client.initialize(create_tables=options.create)
    for event in events.events(path, COUNT, options.base):
        client.track(event)
    client.shutdown()
    return client.flush()


def odd_tracker(_path):
    client = TokenTracker(config(async_mode=False))
    client.initialize(create_tables=options.create)
    for event in events.odd_events(options.base):
        client.track(event)
    written = client.flush()
    client.shutdown()
    return written


def backend(path):
    """The same events twice: the second time is a retry after an answer that
    was lost."""
    client = PostgreSQLBackend()
    client.initialize(config(), create_schema=options.create)
    written = client.write_events(dicts(path))
    written += client.write_events(dicts(path))
    assert client.health_check()
    client.close()
    return written


async def async_database(path):
    """Without create_tables: with it, the client fails in every database, as
    it asks for a connection before it holds itself for initialized."""
    client = AsyncDatabase(config())
    await client.initialize(create_tables=False, min_size=1, max_size=2)
    written = await client.insert_events(dicts_with_times(path))
    written += await client.insert_events(dicts_with_times(path))
    await client.close()
    return written


async def async_backend(path):
    client = AsyncPostgreSQLBackend()
    await client.initialize(config(), create_schema=options.create,
                            min_pool_size=1, max_pool_size=2)
    written = await client.write_events(dicts_with_times(path))
    written += await client.write_events(dicts_with_times(path))
    assert await client.health_check()
    await client.close()
    return written


async def async_tracker(path, **more):
    """It hands times on as text, which asyncpg refuses, in every database."""
    client = AsyncTokenTracker(config(), **more)
    await client.initialize(create_tables=False, min_pool_size=1,
                            max_pool_size=2)
    for event in events.events(path, COUNT, options.base):
        await client.track(event)
    written = await client.flush()
    await client.shutdown()
    return written


PATHS = {
    'tracker': tracker,
    'background': background_tracker,
    'tracker with backend': lambda path: tracker(path, use_backend=True),
    'backend': backend,
    'asyncpg': async_database,
    'asyncpg backend': async_backend,
    'asyncpg tracker': async_tracker,
    'asyncpg tracker with backend':
        lambda path: async_tracker(path, use_backend=True),
    'odd values': odd_tracker,
}


def attempt(path):
    try:
        said = PATHS[path](path + (' by psycopg' if options.psycopg else ''))
        return asyncio.run(said) if asyncio.iscoroutine(said) else said
    except Exception as error:  # pylint: disable=broad-except
        print(f'{path}: {error}', file=sys.stderr)
        return type(error).__name__


logging.basicConfig(level=logging.WARNING)
for name in options.path or PATHS:
    print(json.dumps({'path': name, 'said': attempt(name)}), flush=True)
