"""A worker process for `payload_size_workflows`, with a client for each store. Started and killed by `test_storage`."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AsyncExitStack
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from envelope_codec import EnvelopePlugin
from tests.support.payload_size_workflows import Shift, work_that_hangs


async def main() -> None:
    address, task_queue, key, *urls = sys.argv[1:]
    async with AsyncExitStack() as stack:
        for url in urls:
            plugin = stack.enter_context(EnvelopePlugin(key, storage=url, storage_threshold=0, startup_jitter=0))
            client = await Client.connect(address, plugins=[plugin])
            queue = f"{task_queue} {re.split('[+:]', url)[0]}"
            worker = Worker(
                client,
                task_queue=queue,
                workflows=[Shift],
                activities=[work_that_hangs],
                sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),  # so long the server waits for the dead
            )
            await stack.enter_async_context(worker)
        await asyncio.Event().wait()


asyncio.run(main())
