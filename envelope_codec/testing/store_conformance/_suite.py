"""The suite as one class, and the fixtures of its tests."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from envelope_codec.errors import EnvelopeError, PayloadMissing, StoreRefused
from envelope_codec.store import PayloadStore, Stored, TooLarge, get_within, parse_store_url
from envelope_codec.testing._made import make
from envelope_codec.testing.store_conformance._harness import StoreHarness, secrets_of, text_expected

_ALL = 2.0**40


class StoreConformance:
    """Every test of a store. Give a subclass, whose name begins with ``Test``, a ``harness_class``.

    Attributes:
        harness_class: makes the `StoreHarness`; its parameters name fixtures.
    """

    harness_class: ClassVar[Callable[..., StoreHarness]]

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, request: pytest.FixtureRequest) -> Iterator[StoreHarness]:
        """The harness, one for the whole class."""
        made = make(cls.harness_class, request)
        yield made
        getattr(made, "close", lambda: None)()

    @pytest.fixture
    def url(self, harness: StoreHarness) -> str:
        """The URL of a place that is new and empty."""
        return asyncio.run(harness.place())

    @pytest.mark.parametrize("size", [0, 1, 1_024, 8 * 2**20 + 1, 20 * 2**20])
    def test_what_was_put_comes_back_to_the_byte(self, url: str, size: int) -> None:
        async def use() -> None:
            id, data = _new_id(), os.urandom(size)
            async with _opened(url) as store:
                assert isinstance(store, PayloadStore)
                await store.put(id, data)
                await store.put(id, data)  # as after an answer that was lost
                assert await store.get(id) == data
                assert type(await store.get(id)) is bytes
                [kept] = await _list(store)
                assert (kept.id, kept.size) == (id, size)
                assert abs(kept.created - time.time()) < 60
                await store.delete(id)
                await store.delete(id)
                assert await _list(store) == []
                with pytest.raises(PayloadMissing) as caught:
                    await store.get(id)
                assert id not in str(caught.value)

        asyncio.run(use())

    @pytest.mark.parametrize("size", [0, 1, 5 * 2**20])
    def test_no_more_is_returned_than_is_asked_for(self, url: str, size: int) -> None:
        async def use() -> None:
            id, data = _new_id(), os.urandom(size)
            async with _opened(url) as store:
                await store.put(id, data)
                for limit in (size, size + 1, 2 * size):
                    assert await get_within(store, id, limit) == data
                for limit in {0, size // 4, size - 1} - {-1, size}:
                    with pytest.raises(TooLarge) as caught:
                        await get_within(store, id, limit)
                    assert id not in str(caught.value)
                with pytest.raises(PayloadMissing):
                    await get_within(store, _new_id(), size)

        asyncio.run(use())

    def test_what_is_larger_than_was_put_is_told_and_the_store_goes_on(self, harness: StoreHarness, url: str) -> None:
        overwrite = getattr(harness, "overwrite", None)
        if overwrite is None:
            pytest.skip("the harness can't put other bytes in a payload's place")

        async def use() -> None:
            id, other, data = _new_id(), _new_id(), os.urandom(1_000)
            async with _opened(url) as store:
                await store.put(id, data)
                await store.put(other, data)
                await overwrite(url, id, bytes(3 * 2**20))
                for _ in range(33):  # more often than there are connections
                    with pytest.raises(TooLarge):
                        await get_within(store, id, len(data))
                assert await get_within(store, other, len(data)) == data

        asyncio.run(use())

    def test_lists_payloads_by_age_a_page_at_a_time_and_nothing_else(
        self, harness: StoreHarness, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def use() -> None:
            ids = sorted(_new_id() for _ in range(7))
            async with _opened(url) as store:
                module = sys.modules[type(store).__module__]
                if hasattr(module, "_PAGE"):
                    monkeypatch.setattr(module, "_PAGE", 2)
                await harness.put_other(url)
                for id in ids:
                    await store.put(id, b"some bytes")
                assert sorted(kept.id for kept in await _list(store)) == ids
                assert await _list(store, time.time() - 3_600) == []

        asyncio.run(use())

    def test_a_check_passes_and_leaves_no_payload(self, url: str) -> None:
        async def use() -> None:
            async with _opened(url) as store:
                await store.check()
                await store.check()
                assert await _list(store) == []

        asyncio.run(use())

    def test_may_be_closed_twice_and_unused(self, url: str) -> None:
        async def use() -> None:
            for _ in range(2):
                store = parse_store_url(url).open()
                await store.close()
                await store.close()

        asyncio.run(use())

    def test_a_store_is_made_outside_of_an_event_loop_and_asks_no_network(self, url: str) -> None:
        store = parse_store_url(url).open()
        asyncio.run(store.close())

    def test_a_hundred_at_once_in_each_of_two_event_loops(self, url: str) -> None:
        failures: list[BaseException] = []

        async def use() -> None:
            payloads = {_new_id(): os.urandom(100) for _ in range(100)}
            async with _opened(url) as store:
                await asyncio.gather(*(store.put(id, data) for id, data in payloads.items()))
                assert await asyncio.gather(*(store.get(id) for id in payloads)) == list(payloads.values())

        def run() -> None:
            try:
                asyncio.run(use())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_refusals_are_told_at_once_and_give_nothing_away(self, harness: StoreHarness) -> None:
        async def use() -> None:
            for what, url in (await harness.refusing()).items():
                async with _opened(url) as store:
                    for call in (partial(store.put, _new_id(), b"some bytes"), store.check):
                        with pytest.raises(StoreRefused) as caught:
                            await call()
                        _tells_nothing(caught.value, secrets_of(harness))
                        assert re.search(text_expected(harness, what), str(caught.value)), what
                    readable: type[EnvelopeError] = PayloadMissing if "read-only" in what else StoreRefused
                    with pytest.raises(readable):
                        await store.get(_new_id())
                    password = urlsplit(url).password
                    assert url not in repr(store)
                    assert not password or f"{password}@" not in repr(store)

        asyncio.run(use())


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[PayloadStore]:
    store = parse_store_url(url).open()
    try:
        yield store
    finally:
        await store.close()


async def _list(store: PayloadStore, before: float = _ALL) -> list[Stored]:
    return [stored async for stored in store.list_before(before)]


def _new_id() -> str:
    return os.urandom(16).hex()


def _tells_nothing(error: BaseException, secrets: tuple[str, ...]) -> None:
    """Neither its text nor what a traceback shows of it and its causes holds anything secret."""
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__)) + repr(error)
    # Names and lines of source code are in it too; values are not.
    lines = [line for line in told.splitlines() if not line.startswith("    ") and "File " not in line]
    assert [secret for secret in secrets if any(secret in line for line in lines)] == [], told
