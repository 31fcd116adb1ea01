"""A process that uses a keystore, forks, and goes on, as its children do.

Run as ``keystores_forked.py URL``. Prints nothing if all went well.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback

from envelope_codec.keystore import parse_keystore_url
from envelope_codec.keystore_client import KeystoreClient

CHILDREN, AT_ONCE, LIMIT = 4, 20, 30


async def use(client: KeystoreClient, who: str) -> None:
    """Put rows, and read them back: each must be the one that was put."""

    async def one(number: int) -> None:
        key, data = os.urandom(32), f"{who} {number} ".encode() * 100
        revision = await client.put(key, data, None)
        assert await client.get(key) == (key, data, revision)

    await asyncio.gather(*(one(number) for number in range(AT_ONCE)))


def child(client: KeystoreClient, loop: asyncio.AbstractEventLoop | None, who: str) -> int:
    """The process id of a child that uses the keystore on an inherited loop, or on one of its own."""
    process = os.fork()
    if process == 0:
        signal.alarm(LIMIT)
        try:
            if loop is not None:
                loop.run_until_complete(use(client, who))
            else:
                asyncio.run(use(client, who))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return process


def main(url: str) -> int:
    client, loop = KeystoreClient(parse_keystore_url(url), seconds=LIMIT), asyncio.new_event_loop()
    loop.run_until_complete(use(client, "parent"))
    children = [child(client, loop if number % 2 else None, f"child {number}") for number in range(CHILDREN)]
    loop.run_until_complete(use(client, "parent meanwhile"))
    status = [os.waitpid(process, 0)[1] for process in children]
    loop.run_until_complete(use(client, "parent after all"))
    loop.run_until_complete(client.aclose())
    if any(status):
        print("status of the children:", status)
    return int(any(status))


if __name__ == "__main__":
    signal.alarm(3 * LIMIT)
    code = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(code)
