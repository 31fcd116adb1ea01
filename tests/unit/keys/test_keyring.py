"""Real threads, several event loops, real time; and what observers, closing and the garbage collector do in between."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from envelope_codec.envelope import open_envelope, parse, seal
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.keys.clock import SystemClock
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.limits import Limits
from envelope_codec.observe import Event, LogObserver
from envelope_codec.testing import FakeKms
from tests.support.calls_in_turn import in_turn
from tests.support.keyring_on_fakes import LEASE, LIMITS, MAX_AGE, Events, Jobs, Ring, key_sets, settle, wrapped_by

T = TypeVar("T")
WAIT = 60.0


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


@pytest.fixture
def keyring(kms: FakeKms) -> Iterator[Keyring]:
    """With threads and clocks of its own."""
    keyring = Keyring(key_sets(kms), observer=Events())
    yield keyring
    keyring.close()


def test_what_a_keyring_does_without_being_told(kms: FakeKms) -> None:
    keyring = Keyring(key_sets(kms))
    assert isinstance(keyring.observer, LogObserver)
    assert keyring.limits == Limits()
    assert keyring.direct is False
    keyring.close()


def kms_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("envelope-codec-kms")]


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """What ``work`` returns in each of so many threads that start together."""
    results: dict[int, T] = {}
    failures: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait(WAIT)
            results[number] = work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if failures:
        raise failures[0]
    return [results[number] for number in range(count)]


class Gate:
    """Holds calls of a KMS until it is opened."""

    def __init__(self, kms: FakeKms) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        kms.before_call = self

    def __call__(self, operation: str) -> None:
        self.reached.set()
        assert self.opened.wait(WAIT)


class Counted:
    """A number of waiters that somebody else waits for."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.count = 0

    def add(self) -> None:
        with self.condition:
            self.count += 1
            self.condition.notify_all()

    def reach(self, count: int) -> None:
        with self.condition:
            assert self.condition.wait_for(lambda: self.count >= count, WAIT)


# --- single flight ------------------------------------------------------------------------------------------------


async def all_of(call: Callable[[], Awaitable[T]], count: int, started: Counted) -> list[T]:
    tasks = [asyncio.ensure_future(call()) for _ in range(count)]
    await settle()
    started.add()
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize("failures", [0, 2])
def test_a_thousand_opens_in_four_loops_are_one_unwrap(kms: FakeKms, keyring: Keyring, failures: int) -> None:
    record, key = wrapped_by(kms)
    gate, started = Gate(kms), Counted()
    kms.fail_next(*[KmsUnavailable("not yet")] * failures)

    def loop(number: int) -> list[bytes]:
        return asyncio.run(all_of(lambda: keyring.opening_key(record), 250, started))

    opener = threading.Thread(target=in_turn(lambda: started.reach(4), gate.opened.set), daemon=True)
    opener.start()
    opened = in_threads(4, loop)
    opener.join(WAIT)
    assert opened == [[key] * 250] * 4
    assert kms.unwraps == 1 + failures


@pytest.mark.slow
@pytest.mark.parametrize("failures", [0, 2])
def test_a_thousand_sealers_in_four_loops_are_one_wrap(kms: FakeKms, keyring: Keyring, failures: int) -> None:
    gate, started = Gate(kms), Counted()
    kms.fail_next(*[KmsUnavailable("not yet")] * failures)

    def loop(number: int) -> list[bytes]:
        keys = asyncio.run(all_of(lambda: keyring.sealing_key("default"), 250, started))
        return [key.record.id for key in keys]

    opener = threading.Thread(target=in_turn(lambda: started.reach(4), gate.opened.set), daemon=True)
    opener.start()
    sealed = in_threads(4, loop)
    opener.join(WAIT)
    assert len({record_id for ids in sealed for record_id in ids}) == 1
    assert (kms.wraps, kms.unwraps) == (1 + failures, 1)


@pytest.mark.usefixtures("hurried")
def test_opens_that_come_and_go_while_a_flight_lands_share_it_as_well(kms: FakeKms, keyring: Keyring) -> None:
    """Nothing is held back here: callers arrive before, during and after the landing."""
    for _ in range(30):
        record, key = wrapped_by(kms)
        before = kms.unwraps

        async def several(record=record) -> list[bytes]:  # type: ignore[no-untyped-def]
            return [await keyring.opening_key(record) for _ in range(5)]

        assert in_threads(8, lambda number: asyncio.run(several())) == [[key] * 5] * 8
        assert kms.unwraps - before == 1


@pytest.mark.usefixtures("hurried")
def test_sealers_that_come_and_go_while_a_flight_lands_share_it_as_well(kms: FakeKms) -> None:
    for _ in range(30):
        keyring = Keyring(key_sets(kms), observer=Events())
        before = kms.wraps

        async def several(keyring: Keyring = keyring) -> set[bytes]:
            return {(await keyring.sealing_key("default")).record.id for _ in range(5)}

        assert len(set.union(*in_threads(8, lambda number: asyncio.run(several())))) == 1
        assert kms.wraps - before == 1
        keyring.close()


@pytest.mark.usefixtures("hurried")
def test_keys_that_lapsed_come_back_with_one_call_whoever_asks(kms: FakeKms) -> None:
    ring = Ring(kms, spawn=None)
    wanted = [wrapped_by(kms) for _ in range(100)]
    asyncio.run(all_opened(ring, wanted))
    for _ in range(10):
        ring.clock.suspend(2 * LEASE)
        before = kms.unwraps
        in_threads(4, lambda number: asyncio.run(all_opened(ring, wanted)))
        assert kms.unwraps - before == 1
    ring.keyring.close()


async def all_opened(ring: Ring, wanted: list[tuple]) -> None:  # type: ignore[type-arg]
    keys = await asyncio.gather(*(ring.keyring.opening_key(record) for record, _ in wanted))
    assert keys == [key for _, key in wanted]


async def test_cancelling_whoever_started_it_cancels_nothing_for_others(kms: FakeKms, keyring: Keyring) -> None:
    record, _ = wrapped_by(kms)
    gate = Gate(kms)
    for call in (lambda: keyring.opening_key(record), lambda: keyring.sealing_key("default")):
        gate.reached.clear()
        gate.opened.clear()
        first = asyncio.ensure_future(call())
        assert await asyncio.to_thread(gate.reached.wait, WAIT)
        others = [asyncio.ensure_future(call()) for _ in range(10)]
        await settle()
        first.cancel()
        others.pop(3).cancel()
        await settle()
        assert first.cancelled()
        gate.opened.set()
        assert len(await asyncio.gather(*others)) == 9
    assert kms.unwraps == 2


async def test_a_loop_that_ends_with_waiters_harms_no_other(kms: FakeKms, keyring: Keyring) -> None:
    record, key = wrapped_by(kms)
    gate = Gate(kms)

    def abandon() -> None:
        async def wait_a_little() -> None:
            task = asyncio.ensure_future(keyring.opening_key(record))
            await settle()
            assert not task.done()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(wait_a_little())
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    await asyncio.to_thread(abandon)
    waiter = asyncio.ensure_future(keyring.opening_key(record))
    await settle()
    gate.opened.set()
    assert await waiter == key
    assert kms.unwraps == 1


async def test_a_flood_of_records_that_hang_keeps_no_sealer_and_no_renewal_waiting(kms: FakeKms) -> None:
    hanging = FakeKms()
    gate = Gate(hanging)
    ring = Ring(KeySet(kms, decrypt_keys=(hanging,)), spawn=None)
    known, key = wrapped_by(kms)
    assert await ring.keyring.opening_key(known) == key
    hanging.before_call = lambda operation: None
    flood = [wrapped_by(hanging)[0] for _ in range(100)]
    hanging.before_call = gate
    tasks = [asyncio.ensure_future(ring.keyring.opening_key(record)) for record in flood]
    assert await asyncio.to_thread(gate.reached.wait, WAIT)
    assert await asyncio.wait_for(ring.keyring.sealing_key("default"), WAIT)
    ring.clock.suspend(2 * LEASE)
    assert await asyncio.wait_for(ring.keyring.opening_key(known), WAIT) == key
    assert not any(task.done() for task in tasks)
    gate.opened.set()
    await asyncio.gather(*tasks)
    ring.keyring.close()


# --- hammer -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hurried")
def test_the_count_of_payloads_holds_for_many_threads(kms: FakeKms) -> None:
    keyring = Keyring(key_sets(kms), observer=Events(), limits=Limits(max_payloads=50))

    async def some() -> list[bytes]:
        return [(await keyring.sealing_key("default")).record.id for _ in range(500)]

    def many(number: int) -> list[bytes]:
        ids = []
        for _ in range(500):
            key = keyring.try_sealing_key("default")
            if key is not None:
                ids.append(key.record.id)
        return ids + asyncio.run(some())

    sealed = Counter(record_id for ids in in_threads(8, many) for record_id in ids)
    assert sum(sealed.values()) >= 4_000
    assert max(sealed.values()) <= 50
    keyring.close()


@pytest.mark.usefixtures("hurried")
def test_eight_threads_seal_and_open_through_renewals_of_everything(kms: FakeKms) -> None:
    """Tiny limits: keys, leases and cache entries end all the time; and now and then the KMS fails.

    Nobody has a deadline, so that no limit is too short for a slow machine.
    """
    limits = Limits(
        max_age=20, max_payloads=20, cache_ttl=7, cache_size=8, lease=5, outage_grace=20, refusal_ttl=1, timeout=1e9
    )
    backup = FakeKms()
    ring = Ring(KeySet(kms, (backup,)), spawn=None, limits=limits)
    keyring, calls = ring.keyring, itertools.count(1)

    def hiccup(operation: str) -> None:
        if next(calls) % 7 == 0:
            raise KmsUnavailable("a hiccup")

    kms.before_call = hiccup

    async def work(number: int) -> int:
        good = 0
        for turn in range(60):
            text = f"{number} {turn}".encode()
            key = keyring.try_sealing_key("default") or await keyring.sealing_key("default")
            wrapped, data = seal(text, key.record, key.key)
            assert wrapped is not None
            envelope = parse({**key.record.metadata, "encryption-data-key": wrapped}, data)
            assert envelope is not None
            opening = keyring.try_opening_key(envelope.record) or await keyring.opening_key(envelope.record)
            good += open_envelope(envelope, opening) == text
        return good

    stop = threading.Event()

    def pass_time() -> None:
        while not stop.wait(0.002):
            ring.clock.advance(0.25)

    time = threading.Thread(target=pass_time)
    time.start()
    try:
        assert in_threads(8, lambda number: asyncio.run(work(number))) == [60] * 8
    finally:
        stop.set()
        time.join(WAIT)
    assert kms.wraps + backup.wraps >= 24, "480 payloads, 20 for a key"
    keyring.close()


# --- observers ----------------------------------------------------------------------------------------------------


class Meddling:
    """An observer that calls back into the keyring, from within its event."""

    def __init__(self) -> None:
        self.keyring: Keyring | None = None
        self.seen: list[str] = []

    def on_event(self, event: Event) -> None:
        self.seen.append(event.outcome)
        keyring = self.keyring
        if keyring is None:
            return
        keyring.try_sealing_key("default")
        # From another thread, since a lock that is held here might be one that this thread may take again.
        thread = threading.Thread(target=lambda: asyncio.run(self.use(keyring)))
        thread.start()
        thread.join(WAIT)
        assert not thread.is_alive(), "the keyring is locked while it tells its observer"

    async def use(self, keyring: Keyring) -> None:
        task = asyncio.ensure_future(keyring.prewarm("default"))
        await settle()
        task.cancel()


async def test_an_observer_may_call_back_into_the_keyring(kms: FakeKms) -> None:
    observer = Meddling()
    observer.keyring = keyring = Keyring(key_sets(kms), observer=observer)
    record, key = wrapped_by(kms)
    assert await asyncio.wait_for(keyring.opening_key(record), WAIT) == key
    assert await asyncio.wait_for(keyring.sealing_key("default"), WAIT)
    kms.denied = True
    with pytest.raises(KeyDenied):
        await asyncio.wait_for(keyring.opening_key(denied_record(kms)), WAIT)
    assert "KeyDenied" in observer.seen
    keyring.close()


def denied_record(kms: FakeKms):  # type: ignore[no-untyped-def]
    kms.denied = False
    record, _ = wrapped_by(kms)
    kms.denied = True
    return record


async def test_an_observer_may_close_the_keyring(kms: FakeKms) -> None:
    class Closing:
        keyring: Keyring

        def on_event(self, event: Event) -> None:
            self.keyring.close()

    observer = Closing()
    observer.keyring = keyring = Keyring(key_sets(kms), observer=observer)
    with pytest.raises(KmsUnavailable, match="closed"):
        await asyncio.wait_for(keyring.sealing_key("default"), WAIT)


@pytest.mark.parametrize("spawn", ["inline", "threads"])
async def test_an_observer_that_raises_does_no_harm(spawn: str, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        def on_event(self, event: Event) -> None:
            raise ValueError("the observer is broken")

    settings: dict[str, Any] = {} if spawn == "inline" else {"spawn": None, "clock": SystemClock()}
    ring = Ring(observer=Faulty(), **settings)
    record, key = wrapped_by(ring.kms)
    assert await asyncio.wait_for(ring.keyring.opening_key(record), WAIT) == key
    assert await asyncio.wait_for(ring.keyring.sealing_key("default"), WAIT)
    assert ring.calls == (2, 2)
    assert "the observer is broken" in caplog.text
    ring.keyring.close()


# --- closing ------------------------------------------------------------------------------------------------------


class Owned(FakeKms):
    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.closed = 0
        self.error = error

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


async def test_closing_forgets_every_key_and_leaves_no_timer() -> None:
    ring = Ring()
    for namespace in ("a", "b"):
        await ring.seal(namespace)
        await ring.open(wrapped_by(ring.kms, namespace=namespace)[0])
    assert ring.kept == 6  # the sealing keys are kept for opening as well
    assert ring.clock.next_due is not None
    ring.keyring.close()
    assert ring.kept == 0
    assert ring.clock.next_due is None
    ring.keyring.close()
    ring.clock.advance(10 * MAX_AGE)
    assert ring.calls == (4, 4)


async def test_after_closing_every_call_is_told_so() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.seal()
    await ring.open(record)
    ring.keyring.close()
    assert ring.keyring.try_sealing_key("default") is None
    assert ring.keyring.try_opening_key(record) is None
    for call in (ring.seal(), ring.open(record), ring.finish(ring.keyring.prewarm("default"))):
        with pytest.raises(KmsUnavailable, match="closed"):
            await call
    direct = Ring(direct=True)
    direct.keyring.close()
    with pytest.raises(KmsUnavailable, match="closed"):
        await direct.seal()
    assert direct.calls == (0, 0)


async def test_closing_releases_all_who_wait_and_leaves_no_timer() -> None:
    ring = Ring()
    ring.kms.down = True
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(ring.keyring.prewarm("default")),
        asyncio.ensure_future(ring.keyring.sealing_key("default", timeout=3_600)),
    ]
    ring.kms.down = False
    record, _ = wrapped_by(ring.kms)
    ring.kms.down = True
    tasks.append(asyncio.ensure_future(ring.keyring.opening_key(record, timeout=3_600)))
    await settle()
    ring.clock.advance(60)
    await settle()
    assert not any(task.done() for task in tasks)
    ring.keyring.close()
    for task in tasks:
        with pytest.raises(KmsUnavailable, match="closed"):
            await task
    assert ring.clock.next_due is None


async def test_closing_in_an_outage_stops_its_renewals() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.seal()
    await ring.open(record)
    ring.kms.down = True
    ring.clock.advance(2 * LEASE)
    ring.keyring.close()
    assert ring.clock.next_due is None
    assert ring.kept == 0


async def test_calls_that_return_after_the_closing_leave_nothing_behind(kms: FakeKms) -> None:
    keyring = Keyring(key_sets(kms), observer=Events())
    record, _ = wrapped_by(kms)
    gate = Gate(kms)
    tasks = [
        asyncio.ensure_future(keyring.opening_key(record)),
        asyncio.ensure_future(keyring.sealing_key("default")),
    ]
    assert await asyncio.to_thread(gate.reached.wait, WAIT)
    keyring.close()
    for task in tasks:
        with pytest.raises(KmsUnavailable, match="closed"):
            await asyncio.wait_for(task, WAIT)
    gate.opened.set()
    for thread in kms_threads():
        await asyncio.to_thread(thread.join, WAIT)
        assert not thread.is_alive()
    assert not keyring._opening._keys
    assert not keyring._opening._hot
    assert [state.current for state in keyring._sealing._slots.by_scope.values()] == [None]
    assert keyring.try_opening_key(record) is None


async def test_a_call_that_was_queued_when_the_keyring_closed_is_not_made() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    record, _ = wrapped_by(ring.kms)
    tasks = [
        asyncio.ensure_future(ring.keyring.opening_key(record)),
        asyncio.ensure_future(ring.keyring.sealing_key("a")),
    ]
    await settle()
    ring.keyring.close()
    jobs.run()
    assert ring.calls == (1, 0)
    for task in tasks:
        with pytest.raises(KmsUnavailable, match="closed"):
            await task


async def test_closing_ends_the_keyring_s_threads(kms: FakeKms) -> None:
    before = threading.enumerate()
    keyring = Keyring(key_sets(kms), observer=Events())
    await asyncio.gather(*(keyring.opening_key(wrapped_by(kms)[0]) for _ in range(50)))
    await keyring.sealing_key("default")
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert {thread.name.rpartition("_")[0] or thread.name for thread in threads} == {
        "envelope-codec-kms",
        "envelope-codec-timer",
    }
    keyring.close()
    for thread in threads:
        await asyncio.to_thread(thread.join, WAIT)
        assert not thread.is_alive()


def test_closing_closes_the_master_keys_that_it_owns_whatever_one_of_them_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty, other, mine = Owned(ValueError("as a socket that is gone")), Owned(), Owned()
    keyring = Keyring(key_sets(KeySet(faulty, (other, mine))), owned=(faulty, other), observer=Events())
    keyring.close()
    keyring.close()
    assert (faulty.closed, other.closed, mine.closed) == (2, 2, 0)
    assert faulty.key_id in caplog.text


@pytest.mark.usefixtures("hurried")
def test_closing_at_any_moment_neither_hangs_nor_raises(kms: FakeKms) -> None:
    for _ in range(40):
        keyring = Keyring(key_sets(kms), observer=Events(), limits=Limits(max_payloads=3))
        wanted = [wrapped_by(kms)[0] for _ in range(3)]

        async def use(keyring: Keyring = keyring, wanted=wanted) -> None:  # type: ignore[no-untyped-def]
            while True:
                for record in wanted:
                    await keyring.opening_key(record)
                await keyring.sealing_key("default")

        def run(number: int, keyring: Keyring = keyring) -> type[EnvelopeError]:
            if number == 0:
                asyncio.run(keyring.sealing_key("default"))
                keyring.close()
                return KmsUnavailable
            try:
                asyncio.run(use())
            except EnvelopeError as error:
                return type(error)
            raise AssertionError("it goes on for ever")

        assert set(in_threads(4, run)) == {KmsUnavailable}
        assert not keyring._opening._keys
        assert not keyring._opening._hot
        assert all(state.current is None for state in keyring._sealing._slots.by_scope.values())


# --- garbage ------------------------------------------------------------------------------------------------------


async def test_an_idle_keyring_that_nobody_closed_is_collected_after_its_timers() -> None:
    ring = Ring()
    record, _ = wrapped_by(ring.kms)
    await ring.seal()
    await ring.seal()
    await ring.open(record)
    gone = weakref.ref(ring.keyring)
    clock = ring.clock
    del ring
    clock.advance(3 * MAX_AGE)
    assert clock.next_due is None
    gc.collect()
    assert gone() is None


@pytest.mark.slow
async def test_threads_of_a_keyring_that_nobody_closed_end_with_it(kms: FakeKms) -> None:
    keyring = Keyring(key_sets(kms), observer=Events(), limits=dataclasses.replace(LIMITS, lease=0.01))
    await keyring.opening_key(wrapped_by(kms)[0])
    threads = kms_threads()
    assert threads
    gone = weakref.ref(keyring)
    del keyring
    for _ in range(600):  # until the timer of its lease has fired
        gc.collect()
        if gone() is None:
            break
        await asyncio.sleep(0.05)
    assert gone() is None
    for thread in threads:
        await asyncio.to_thread(thread.join, WAIT)
        assert not thread.is_alive()


async def test_a_waiter_that_the_garbage_collector_ends_harms_no_other(kms: FakeKms, keyring: Keyring) -> None:
    record, key = wrapped_by(kms)
    gate = Gate(kms)
    abandoned = keyring.opening_key(record)
    abandoned.send(None)
    waiter = asyncio.ensure_future(keyring.opening_key(record))
    await settle()
    del abandoned
    gc.collect()
    gate.opened.set()
    assert await waiter == key
