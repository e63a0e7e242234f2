"""start.py URL...: start the client as applications do, by each of its ways

Nothing is written; each start makes what it finds missing.
"""

import asyncio
import sys

from tokenledger import TokenTracker
from tokenledger.backends.postgresql import (AsyncPostgreSQLBackend,
                                             PostgreSQLBackend)
from tokenledger.config import TokenLedgerConfig


async def start_async(config):
    backend = AsyncPostgreSQLBackend()
    await backend.initialize(config, min_pool_size=1, max_pool_size=1)
    await backend.close()


for url in sys.argv[1:]:
    settings = TokenLedgerConfig(database_url=url, async_mode=False)
    for use_backend in (False, True):
        tracker = TokenTracker(settings, use_backend=use_backend)
        tracker.initialize()
        tracker.shutdown()
    started = PostgreSQLBackend()
    started.initialize(settings)
    started.close()
    asyncio.run(start_async(settings))
