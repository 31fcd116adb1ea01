"""A forked child has no thread, no lock and no key of its parent's; and its parent notices nothing of it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from envelope_codec.envelope import Record
from envelope_codec.errors import KmsUnavailable
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.limits import Limits
from envelope_codec.testing import FakeKms
from tests.support.forked_child import in_child
from tests.support.keyring_on_fakes import Events, key_sets, wrapped_by

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

WAIT = 60.0


class Patient(FakeKms):
    """Whose own lock is never held at a fork."""

    def hold(self) -> tuple[threading.Event, threading.Event]:
        """Hold the next calls; returns what tells that one has come, and what lets it go on."""
        reached, opened = threading.Event(), threading.Event()
        parent = os.getpid()

        def wait(operation: str) -> None:
            if os.getpid() == parent:
                reached.set()
                opened.wait(WAIT)

        self.before_call = wait
        return reached, opened


@pytest.fixture
def kms() -> Patient:
    return Patient()


@pytest.fixture
def keyring(kms: FakeKms) -> Iterator[Keyring]:
    keyring = Keyring(key_sets(kms), observer=Events())
    yield keyring
    keyring.close()


def sealed(keyring: Keyring) -> bytes:
    return asyncio.run(keyring.sealing_key("default")).record.id


def opened(keyring: Keyring, record: Record) -> bytes:
    key = asyncio.run(keyring.opening_key(record))
    keyring.note_opened(record)
    return key


def test_a_child_starts_without_keys_and_gets_its_own(kms: FakeKms, keyring: Keyring) -> None:
    record, key = wrapped_by(kms)
    mine = sealed(keyring)
    assert opened(keyring, record) == key

    def child() -> tuple[Any, ...]:
        at_hand = keyring.try_sealing_key("default"), keyring.try_opening_key(record)
        before = kms.unwraps
        return at_hand, sealed(keyring), opened(keyring, record), kms.unwraps - before

    at_hand, its, its_key, unwraps = in_child(child)
    assert at_hand == (None, None)
    assert its != mine
    assert (its_key, unwraps) == (key, 2)
    assert sealed(keyring) == mine
    assert keyring.try_opening_key(record) == key
    assert opened(keyring, wrapped_by(kms)[0])


def test_children_of_one_parent_never_seal_with_one_key(kms: FakeKms, keyring: Keyring) -> None:
    ids = [sealed(keyring), *(in_child(lambda: sealed(keyring)) for _ in range(5))]
    assert len(set(ids)) == 6


def test_a_lock_that_is_held_at_the_fork_does_not_stop_the_child(kms: FakeKms, keyring: Keyring) -> None:
    record, key = wrapped_by(kms)
    mine = sealed(keyring)
    with keyring._calls.lock:
        its_key, its = in_child(lambda: (opened(keyring, record), sealed(keyring)))
    assert its_key == key
    assert its != mine
    assert opened(keyring, record) == key


@pytest.mark.slow
def test_threads_that_hold_the_lock_now_and_then_do_not_stop_any_child(kms: FakeKms, keyring: Keyring) -> None:
    record, key = wrapped_by(kms)
    opened(keyring, record)
    stop = threading.Event()

    def busy() -> None:
        async def use() -> None:
            while not stop.is_set():
                await keyring.opening_key(record)
                await keyring.sealing_key("default")

        asyncio.run(use())

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            assert in_child(lambda: (opened(keyring, record), len(sealed(keyring)))) == (key, 32)
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT)


def test_a_call_that_is_under_way_at_the_fork_ends_in_the_parent_and_is_made_anew_in_the_child(
    kms: Patient, keyring: Keyring
) -> None:
    record, key = wrapped_by(kms)
    reached, go_on = kms.hold()
    results: list[bytes] = []
    waiter = threading.Thread(target=lambda: results.append(opened(keyring, record)))
    waiter.start()
    assert reached.wait(WAIT)
    assert in_child(lambda: (opened(keyring, record), len(sealed(keyring)))) == (key, 32)
    go_on.set()
    waiter.join(WAIT)
    assert results == [key]
    assert kms.unwraps == 1


def test_timers_of_the_parent_go_on_there_and_do_nothing_in_the_child(kms: FakeKms) -> None:
    events = Events()
    keyring = Keyring(key_sets(kms), observer=events, limits=Limits(lease=0.2, refusal_ttl=0.01))
    record, _ = wrapped_by(kms)
    opened(keyring, record)

    def child() -> int:
        before = len(events)
        threading.Event().wait(0.5)
        return len(events) - before

    assert in_child(child) == 0
    deadline = threading.Event()
    for _ in range(600):
        if len(events) > 1:
            break
        deadline.wait(0.05)
    assert events.of("unwrap")[:2] == ["ok", "ok"]
    keyring.close()


def test_a_child_s_own_leases_are_renewed_in_its_background(kms: FakeKms) -> None:
    keyring = Keyring(key_sets(kms), observer=Events(), limits=Limits(lease=0.2))
    record, _ = wrapped_by(kms)
    opened(keyring, record)

    def child() -> bool:
        before = kms.unwraps
        opened(keyring, record)
        for _ in range(600):
            if kms.unwraps - before >= 2:
                return True
            threading.Event().wait(0.05)
        return False

    assert in_child(child)
    keyring.close()


def test_a_keyring_that_is_closed_stays_closed_in_the_child(kms: FakeKms, keyring: Keyring) -> None:
    sealed(keyring)
    keyring.close()

    def child() -> str:
        try:
            sealed(keyring)
        except KmsUnavailable as error:
            return str(error)
        return "open again"

    assert in_child(child) == "the keyring has been closed"


def test_closing_in_the_child_leaves_the_parent_open(kms: FakeKms, keyring: Keyring) -> None:
    record, key = wrapped_by(kms)
    mine = sealed(keyring)

    def child() -> None:
        sealed(keyring)
        keyring.close()

    in_child(child)
    assert sealed(keyring) == mine
    assert opened(keyring, record) == key


def test_a_grandchild_has_keys_of_its_own(kms: FakeKms, keyring: Keyring) -> None:
    mine = sealed(keyring)

    def child() -> list[bytes]:
        return [sealed(keyring), in_child(lambda: sealed(keyring)), sealed(keyring)]

    first, grandchild, again = in_child(child)
    assert first == again
    assert len({mine, first, grandchild}) == 3
