"""A process that stores payloads, forks, and goes on.

So do its children, on the event loop that they inherit or on others.
Run as ``forks_with_stores.py URL``. Prints nothing if all went well.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial

from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext

from envelope_codec import EnvelopeCodec
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import parse_store_url
from envelope_codec.testing import FakeKms

CHILDREN, ROUNDS, AT_ONCE = 4, 3, 6
LIMIT = 30


async def use(driver: EnvelopeDriver, codec: EnvelopeCodec, who: str) -> None:
    """Store payloads, and read them back: each must be the one that was stored."""

    async def one(number: int) -> None:
        data = f"{who} {number} ".encode() * 500
        sealed = await codec.encode([Payload(data=data)])
        claims = await driver.store(StorageDriverStoreContext(), sealed)
        found = await driver.retrieve(StorageDriverRetrieveContext(), claims)
        assert [payload.data for payload in await codec.decode(found)] == [data]

    for begin in range(ROUNDS):
        await asyncio.gather(*(one(begin * AT_ONCE + number) for number in range(AT_ONCE)))


def child(work: Callable[[], None], ends: Callable[[], None]) -> int:
    """The process id of a child that runs ``work``, and then ends this way."""
    process = os.fork()
    if process == 0:
        signal.alarm(LIMIT)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        ends()
        os._exit(0)
    return process


def main(url: str) -> int:
    pool, codec = Pool(parse_store_url(url)), EnvelopeCodec(FakeKms())
    driver = EnvelopeDriver(pool, codec)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(driver, codec, "parent"))

    def on_the_inherited_loop(who: str) -> None:
        loop.run_until_complete(use(driver, codec, who))

    def ends_in_good_order() -> None:
        """As far as a child does that: it closes what it has, and its loop's generators."""
        loop.run_until_complete(pool.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        pool.close()

    ends = (ends_in_good_order, lambda: None)
    children = [child(partial(on_the_inherited_loop, f"child {n}"), ends[n % 2]) for n in range(CHILDREN)]
    loop.run_until_complete(use(driver, codec, "parent meanwhile"))
    status = [os.waitpid(process, 0)[1] for process in children]

    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=lambda n=n: asyncio.run(use(driver, codec, f"worker {n}"))) for n in range(3)]
    for worker in workers:
        worker.start()
    loop.run_until_complete(use(driver, codec, "parent beside workers"))
    for worker in workers:
        worker.join(LIMIT)
        status.append(worker.exitcode if worker.exitcode is not None else -1)
    loop.run_until_complete(use(driver, codec, "parent after all"))
    loop.run_until_complete(pool.aclose())
    loop.close()
    codec.keyring.close()
    if any(status):
        print("status of the children:", status)
    return int(any(status))


if __name__ == "__main__":
    signal.alarm(3 * LIMIT)
    code = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(code)
