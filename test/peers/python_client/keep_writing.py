"""keep_writing.py URL SCHEMA: an application that writes until its input ends

By the tracker, and by asyncpg with a statement that stays prepared.  Each
prints the events of a batch once it has been told that they are written: they
may not get lost.  A batch that fails ends the program.
"""

import asyncio
import sys
import threading
from datetime import datetime, timezone

from tokenledger import LLMEvent, TokenTracker
from tokenledger.async_db import AsyncDatabase
from tokenledger.config import TokenLedgerConfig

BATCH = 5

config = TokenLedgerConfig(database_url=sys.argv[1], schema_name=sys.argv[2],
                           async_mode=False)
ended = threading.Event()
failed = threading.Event()
telling = threading.Lock()


def batch(provider):
    return [LLMEvent(provider=provider, model='kept') for _ in range(BATCH)]


def tell(written):
    with telling:                # print() writes the end of a line apart
        print(' '.join(written), flush=True)


def by_tracker():
    client = TokenTracker(config)
    client.initialize(create_tables=False)
    while not ended.wait(0.005):
        events = batch('tracker')
        for event in events:
            client.track(event)
        if client.flush() != BATCH:
            failed.set()
            return
        tell(event.event_id for event in events)


async def by_asyncpg():
    client = AsyncDatabase(config)
    await client.initialize(create_tables=False, min_size=1, max_size=1)
    while not ended.wait(0.005):
        events = [event.to_dict() for event in batch('asyncpg')]
        for event in events:
            event['timestamp'] = datetime.now(timezone.utc)
        if await client.insert_events(events) != BATCH:
            failed.set()
            return
        tell(event['event_id'] for event in events)
    await client.close()


writers = [threading.Thread(target=by_tracker),
           threading.Thread(target=lambda: asyncio.run(by_asyncpg()))]
for writer in writers:
    writer.start()
sys.stdin.read()
ended.set()
for writer in writers:
    writer.join()
sys.exit(failed.is_set())
