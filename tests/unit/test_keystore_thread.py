"""A keystore as threads use it: one event loop for all of them, with the time kept for each call."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from envelope_codec.errors import ConfigurationError, StoreRefused, StoreUnavailable
from envelope_codec.keystore import Kept, Keystore, KeystoreUrl, RowConflict
from envelope_codec.keystore_thread import KeystoreThread
from envelope_codec.testing import FakeKeystore
from tests.support.forked_child import in_child

WAIT = 60.0
KEY = bytes(32)


class Slow(FakeKeystore):
    """Whose calls wait for an answer, and say how they end."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = True
        self.cancelled = threading.Event()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def get(self, key: bytes) -> Kept | None:
        self.loops.add(asyncio.get_running_loop())
        if self.silent:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return await super().get(key)


class Url(KeystoreUrl):
    """Opens keystores in memory, and remembers them."""

    opened: list[Slow]

    def open(self) -> Keystore:
        keystore = Slow()
        keystore.silent = False
        self.opened.append(keystore)
        return keystore


def url() -> Url:
    made = Url("memory://")
    made.opened = []
    return made


def test_rows_come_and_go() -> None:
    thread = KeystoreThread(FakeKeystore())
    assert thread.get(KEY, WAIT) is None
    first = thread.put(KEY, b"one", None, WAIT)
    second = thread.put(KEY, b"two", first, WAIT)
    assert thread.get(KEY, WAIT) == Kept(KEY, b"two", second)
    with pytest.raises(RowConflict):
        thread.put(KEY, b"three", first, WAIT)
    thread.close()


def test_errors_of_the_keystore_come_through() -> None:
    keystore = FakeKeystore()
    thread = KeystoreThread(keystore)
    keystore.refuses.add("get")
    with pytest.raises(StoreRefused):
        thread.get(KEY, WAIT)
    keystore.down = True
    with pytest.raises(StoreUnavailable):
        thread.put(KEY, b"", None, WAIT)
    thread.close()


def test_a_call_that_takes_too_long_is_cancelled_and_the_next_one_goes_through() -> None:
    keystore = Slow()
    thread = KeystoreThread(keystore)
    with pytest.raises(StoreUnavailable, match="the keystore did not answer") as caught:
        thread.get(KEY, 0.01)
    assert caught.value.operation == "get"
    assert keystore.cancelled.wait(WAIT)
    keystore.silent = False
    assert thread.get(KEY, WAIT) is None
    thread.close()


def test_any_number_of_threads_share_one_event_loop() -> None:
    keystore = Slow()
    keystore.silent = False
    thread = KeystoreThread(keystore)
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(lambda _: thread.get(KEY, WAIT), range(200))) == [None] * 200
    assert len(keystore.loops) == 1
    thread.close()


def test_closing_ends_calls_under_way_and_refuses_others() -> None:
    keystore = Slow()
    thread = KeystoreThread(keystore)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(thread.get, KEY, WAIT)
        while not keystore.loops:
            os.sched_yield()
        thread.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            call.result(WAIT)
    thread.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        thread.get(KEY, WAIT)
    assert keystore.closed == 0  # whoever made it closes it


def test_what_was_opened_from_a_url_is_closed_on_its_event_loop() -> None:
    closed = threading.Event()
    made = url()
    thread = KeystoreThread(made)
    assert [keystore.loops for keystore in made.opened] == [set()]  # only to find out what is wrong with the URL
    thread.get(KEY, WAIT)
    close = made.opened[1].close

    async def note() -> None:
        await close()
        closed.set()

    made.opened[1].close = note  # type: ignore[method-assign]
    thread.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        thread.get(KEY, WAIT)
    assert closed.wait(WAIT)
    thread.close()
    assert len(made.opened) == 2


def test_a_url_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="no keystore for URL scheme"):
        KeystoreThread(KeystoreUrl("carrier-pigeon://coop"))


def test_a_url_that_can_be_opened_no_more_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Once(Url):
        def open(self) -> Keystore:
            if self.opened:
                raise ConfigurationError("keystore: the profile is gone")
            return super().open()

    made = Once("memory://")
    made.opened = []
    thread = KeystoreThread(made)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="can't be opened any more"):
            thread.get(KEY, WAIT)
    assert caplog.text.count("the profile is gone") == 1
    thread.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_its_own() -> None:
    made = url()
    thread = KeystoreThread(made)
    thread.put(KEY, b"the parent's", None, WAIT)

    def work() -> tuple[Kept | None, int]:
        found = thread.get(KEY, WAIT)
        thread.close()
        return found, len(made.opened)

    assert in_child(work) == (None, 3)
    kept = thread.get(KEY, WAIT)
    assert kept is not None
    assert kept.data == b"the parent's"
    assert len(made.opened) == 2
    thread.close()
