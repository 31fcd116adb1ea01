"""The suite as one class, and the fixtures of its tests."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import Kept, Keystore, RowConflict, parse_keystore_url
from envelope_codec.keystore_batch import MAX_BATCH, Batches
from envelope_codec.keystore_role import Operation, Role, TryableKeystore, attempt
from envelope_codec.testing._made import make
from envelope_codec.testing.store_conformance._harness import StoreHarness, secrets_of, text_expected

_AT_ONCE = 50
_LARGEST = 65_536


class KeystoreConformance:
    """Every test of a keystore. Give a subclass, whose name begins with ``Test``, a ``harness_class``.

    Attributes:
        harness_class: makes the harness; its parameters name fixtures.
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

    @pytest.mark.parametrize("size", [0, 1, 900, _LARGEST])
    def test_what_was_put_comes_back_to_the_byte(self, url: str, size: int) -> None:
        async def use() -> None:
            key, data = _new_key(), os.urandom(size)
            async with _opened(url) as keystore:
                assert isinstance(keystore, Keystore)
                assert await keystore.get(key) is None
                revision = await keystore.put(key, data, None)
                assert await keystore.get(key) == Kept(key, data, revision)
                kept = await keystore.get(key)
                assert kept is not None
                assert (type(kept.key), type(kept.data), type(kept.revision)) == (bytes, bytes, str)
                assert await keystore.get(_new_key()) is None

        asyncio.run(use())

    def test_another_connection_sees_it_at_once(self, url: str) -> None:
        async def use() -> None:
            key = _new_key()
            async with _opened(url) as one, _opened(url) as other:
                revision = await one.put(key, b"first", None)
                second = await other.put(key, b"second", revision)
                assert await one.get(key) == Kept(key, b"second", second)

        asyncio.run(use())

    def test_a_row_is_replaced_only_by_who_names_its_revision(self, url: str) -> None:
        async def use() -> None:
            key = _new_key()
            async with _opened(url) as keystore:
                first = await keystore.put(key, b"first", None)
                second = await keystore.put(key, b"second", first)
                assert second != first
                for wrong in (None, first, *_ODD_REVISIONS):
                    with pytest.raises(RowConflict) as caught:
                        await keystore.put(key, b"lost", wrong)
                    assert key.hex() not in str(caught.value)
                assert await keystore.get(key) == Kept(key, b"second", second)

        asyncio.run(use())

    def test_a_row_that_is_not_there_is_not_replaced(self, url: str) -> None:
        async def use() -> None:
            key = _new_key()
            async with _opened(url) as keystore:
                other = await keystore.put(_new_key(), b"other", None)
                for wrong in (other, *_ODD_REVISIONS):
                    with pytest.raises(RowConflict):
                        await keystore.put(key, b"lost", wrong)
                assert await keystore.get(key) is None

        asyncio.run(use())

    def test_a_revision_is_not_given_to_other_bytes_again(self, url: str) -> None:
        async def use() -> None:
            key, seen, revision = _new_key(), dict[str, bytes](), None
            async with _opened(url) as keystore:
                for data in (b"a", b"b", b"a", b"c", b"b"):
                    revision = await keystore.put(key, data, revision)
                    assert seen.setdefault(revision, data) == data

        asyncio.run(use())

    def test_several_rows_are_replaced_in_one_call_each_by_its_revision(self, url: str) -> None:
        """For a keystore that has the methods of `Batches`."""

        async def use() -> None:
            keys = [_new_key() for _ in range(MAX_BATCH)]
            async with _opened(url) as keystore:
                if not isinstance(keystore, Batches):
                    return
                made = [Kept(key, key, await keystore.put(key, key, None)) for key in keys[:-1]]
                assert await keystore.get_each(keys) == [*made, None]
                wrong = [0, 7, MAX_BATCH - 1]
                changes = [
                    Kept(key, os.urandom(900), made[number].revision if number not in wrong else "0" * 32)
                    for number, key in enumerate(keys)
                ]
                fresh = await keystore.replace_each(changes)
                assert [number for number, revision in enumerate(fresh) if revision is None] == wrong
                for number, kept in enumerate(await keystore.get_each(keys)):
                    if number in wrong:
                        assert kept == (made[number] if number < len(made) else None)
                    else:
                        assert kept == Kept(keys[number], changes[number].data, str(fresh[number]))
                again = [Kept(kept.key, b"again", kept.revision) for kept in await keystore.get_each(keys[:5]) if kept]
                assert None not in await keystore.replace_each(again)
                assert await keystore.replace_each(again) == [None] * 5
                assert [kept and kept.data for kept in await keystore.get_each(keys[:5])] == [b"again"] * 5

        asyncio.run(use())

    def test_many_large_rows_are_replaced_in_one_call(self, url: str) -> None:
        async def use() -> None:
            keys = [_new_key() for _ in range(MAX_BATCH)]
            async with _opened(url) as keystore:
                if not isinstance(keystore, Batches):
                    return
                made = [Kept(key, bytes(_LARGEST), await keystore.put(key, b"small", None)) for key in keys]
                fresh = await keystore.replace_each(made)
                assert await keystore.get_each(keys) == [
                    Kept(key, bytes(_LARGEST), str(revision)) for key, revision in zip(keys, fresh, strict=True)
                ]

        asyncio.run(use())

    @pytest.mark.parametrize("there", [False, True])
    def test_of_many_writers_at_once_one_succeeds(self, url: str, there: bool) -> None:
        async def use() -> None:
            key = _new_key()
            async with _opened(url) as one, _opened(url) as other:
                revision = await one.put(key, b"before", None) if there else None
                rows = [os.urandom(500) for _ in range(_AT_ONCE)]
                puts = [(one, other)[number % 2].put(key, data, revision) for number, data in enumerate(rows)]
                outcomes = await asyncio.gather(*puts, return_exceptions=True)
                won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, str)]
                lost = [outcome for outcome in outcomes if isinstance(outcome, RowConflict)]
                assert (len(won), len(lost)) == (1, _AT_ONCE - 1), outcomes
                assert await one.get(key) == Kept(key, rows[won[0]], str(outcomes[won[0]]))

        asyncio.run(use())

    def test_no_change_is_lost_among_writers_that_read_again(self, url: str) -> None:
        async def use() -> None:
            key = _new_key()
            async with _opened(url) as keystore:
                await keystore.put(key, b"", None)
                await asyncio.gather(*(_append(keystore, key, bytes([number])) for number in range(8)))
                kept = await keystore.get(key)
                assert kept is not None
                assert sorted(kept.data) == list(range(8))

        asyncio.run(use())

    def test_lists_all_rows_in_order_a_page_at_a_time_and_nothing_else(
        self, harness: StoreHarness, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def use() -> None:
            keys = sorted([bytes(32), b"\xff" * 32, b"\x80" + bytes(31), *(_new_key() for _ in range(6))])
            async with _opened(url) as keystore:
                module = sys.modules[type(keystore).__module__]
                if hasattr(module, "_PAGE"):
                    monkeypatch.setattr(module, "_PAGE", 2)
                assert await _list(keystore) == []
                await harness.put_other(url)
                revisions = {key: await keystore.put(key, key[:7], None) for key in keys}
                everything = [Kept(key, key[:7], revisions[key]) for key in keys]
                assert await _list(keystore) == everything
                for number, key in enumerate(keys):
                    assert await _list(keystore, key) == everything[number + 1 :]
                assert await _list(keystore, keys[4][:5]) == everything[4:]
                assert await _list(keystore, b"\xff" * 33) == []

        asyncio.run(use())

    def test_a_check_passes_and_leaves_no_row(self, url: str) -> None:
        async def use() -> None:
            async with _opened(url) as keystore:
                await keystore.check()
                await keystore.check()
                await asyncio.gather(*(keystore.check() for _ in range(4)))
                assert await _list(keystore) == []

        asyncio.run(use())

    def test_trying_each_operation_out_leaves_no_row(self, url: str) -> None:
        async def use() -> None:
            async with _opened(url) as keystore:
                key = _new_key()
                kept = Kept(key, b"a row", await keystore.put(key, b"a row", None))
                for operation in (*Operation, *Operation):
                    await attempt(keystore, operation)
                assert await _list(keystore) == [kept]
                if isinstance(keystore, TryableKeystore):
                    assert all(keystore.grants(role) for role in Role)

        asyncio.run(use())

    def test_is_usable_after_calls_that_were_cancelled(self, url: str) -> None:
        async def use() -> None:
            async with _opened(url) as keystore:
                key = _new_key()
                revision = await keystore.put(key, b"before", None)
                for steps in range(12):
                    puts = [asyncio.ensure_future(keystore.put(_new_key(), b"x" * 9_000, None)) for _ in range(20)]
                    gets = [asyncio.ensure_future(_call(keystore, key)) for _ in range(20)]
                    calls: list[asyncio.Future[Any]] = [*puts, *gets]
                    for _ in range(steps * 3):
                        await asyncio.sleep(0)
                    for call in calls:
                        call.cancel()
                    await asyncio.wait(calls)
                assert await keystore.get(key) == Kept(key, b"before", revision)
                await keystore.put(key, b"after", revision)
                assert all(kept.data in (b"x" * 9_000, b"after") for kept in await _list(keystore))

        asyncio.run(use())

    def test_may_be_closed_twice_and_unused(self, url: str) -> None:
        async def use() -> None:
            for _ in range(2):
                keystore = parse_keystore_url(url).open()
                await keystore.close()
                await keystore.close()

        asyncio.run(use())

    def test_a_keystore_is_made_outside_of_an_event_loop_and_asks_no_network(self, url: str) -> None:
        keystore = parse_keystore_url(url).open()
        asyncio.run(keystore.close())

    def test_a_hundred_at_once_in_each_of_two_event_loops(self, url: str) -> None:
        failures: list[BaseException] = []

        async def use() -> None:
            rows = {_new_key(): os.urandom(100) for _ in range(100)}
            async with _opened(url) as keystore:
                await asyncio.gather(*(keystore.put(key, data, None) for key, data in rows.items()))
                found = await asyncio.gather(*(keystore.get(key) for key in rows))
                assert [kept and kept.data for kept in found] == list(rows.values())

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
                async with _opened(url) as keystore:
                    for call in (partial(keystore.put, _new_key(), b"some bytes", None), keystore.check):
                        with pytest.raises(StoreRefused) as caught:
                            await call()
                        assert not isinstance(caught.value, RowConflict)
                        _tells_nothing(caught.value, secrets_of(harness))
                        assert re.search(text_expected(harness, what), str(caught.value)), what
                    if "read-only" in what:
                        assert await keystore.get(_new_key()) is None
                    else:
                        with pytest.raises(StoreRefused):
                            await keystore.get(_new_key())
                    password = urlsplit(url).password
                    assert url not in repr(keystore)
                    assert url not in repr(parse_keystore_url(url))
                    assert not password or f"{password}@" not in repr(keystore)

        asyncio.run(use())


_ODD_REVISIONS = ("0", "1", "a" * 32, '"00000000000000000000000000000000"', "x' OR 'a'='a", "*")


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Keystore]:
    keystore = parse_keystore_url(url).open()
    try:
        yield keystore
    finally:
        await keystore.close()


async def _list(keystore: Keystore, after: bytes = b"") -> list[Kept]:
    return [kept async for kept in keystore.rows(after)]


async def _call(keystore: Keystore, key: bytes) -> None:
    await keystore.get(key)


async def _append(keystore: Keystore, key: bytes, more: bytes) -> None:
    while True:
        kept = await keystore.get(key)
        assert kept is not None
        try:
            await keystore.put(key, kept.data + more, kept.revision)
        except RowConflict:
            continue
        return


def _new_key() -> bytes:
    return os.urandom(32)


def _tells_nothing(error: BaseException, secrets: tuple[str, ...]) -> None:
    """Neither its text nor what a traceback shows of it and its causes holds anything secret."""
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__)) + repr(error)
    # Names and lines of source code are in it too; values are not.
    lines = [line for line in told.splitlines() if not line.startswith("    ") and "File " not in line]
    assert [secret for secret in secrets if any(secret in line for line in lines)] == [], told
