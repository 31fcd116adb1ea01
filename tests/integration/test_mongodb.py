"""PyMongo's client, whose locks do not outlive being cancelled, stays usable whatever its callers do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from devstack import MongoServer

from envelope_codec import StoreUnavailable
from tests.support.harness_stores import Mongo, new_id, opened

RunServer = Callable[[MongoServer], AbstractContextManager[MongoServer]]
AT_ONCE = 50


async def test_calls_that_are_given_up_while_the_server_is_away_still_come_through(run_server: RunServer) -> None:
    with run_server(MongoServer()) as server:
        mongo = Mongo(server)
        url = (await mongo.place()).replace("TimeoutMS=500", "TimeoutMS=90000")
        store = opened(url)
        await store.check()
        assert server._process is not None
        os.killpg(server.pid, signal.SIGKILL)
        await asyncio.to_thread(server._process._popen.wait)
        with pytest.raises(StoreUnavailable):
            await store.put(new_id(), b"of which the client learns that the server is away")
        calls = [asyncio.ensure_future(store.put(new_id(), b"some bytes")) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)  # they begin
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls)
        await asyncio.to_thread(server.restart)
        deadline = time.monotonic() + 100
        while await mongo.count(url) < AT_ONCE:
            assert time.monotonic() < deadline
        await store.close()
