"""What keystores do while their real servers are away, and in forked children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from devstack import Server

from envelope_codec import StoreUnavailable
from envelope_codec.keystore import Kept, parse_keystore_url
from tests.support.harness_keystores import KINDS, SERVED_BY, Keystores
from tests.support.harness_stores import DURABLE, NEEDLES, SERVED, aws_environment

RunServer = Callable[[Server], AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.mark.parametrize("kind", DURABLE)
async def test_a_keystore_whose_server_was_killed_is_as_it_was_once_it_is_back(
    kind: str, run_server: RunServer
) -> None:
    with run_server(SERVED[kind][0]()) as server:
        harness = SERVED_BY[kind](server)
        url = await harness.place()
        keystore, key = parse_keystore_url(url).open(), os.urandom(32)
        await asyncio.gather(*(keystore.put(os.urandom(32), b"others", None) for _ in range(20)))  # opens connections
        revision = await keystore.put(key, b"a row", None)
        os.killpg(server.pid, signal.SIGKILL)
        await asyncio.to_thread(server._process._popen.wait)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: keystore.put(key, b"in vain", revision),
            lambda: keystore.get(key),
            lambda: anext(keystore.rows()),
            keystore.check,
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable) as caught:
                await call()
            assert [needle for needle in NEEDLES if needle in str(caught.value)] == []
        await asyncio.to_thread(server.restart)
        while True:
            try:
                assert await keystore.get(key) == Kept(key, b"a row", revision)
                break
            except StoreUnavailable:  # a connection from before: one each
                await asyncio.sleep(0)
        assert len([kept async for kept in keystore.rows()]) == 21
        await keystore.close()


@pytest.mark.parametrize("kind", KINDS)
def test_parent_and_children_use_a_keystore_at_once_and_each_gets_its_own(kind: str, keystores: Keystores) -> None:
    url = asyncio.run(keystores[kind].place())
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.keystores_forked", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
