"""Timers: of the machine's clock, with its thread, and of the clock that a test turns by hand."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from envelope_codec.keys.clock import SystemClock
from envelope_codec.testing import ManualClock
from tests.support.calls_in_turn import in_turn

WAIT = 30.0


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_timer_fires_once_in_another_thread() -> None:
    clock, fired, done = SystemClock(), list[str](), threading.Event()
    clock.call_later(0.0, lambda: fired.append(threading.current_thread().name))
    clock.call_later(0.01, done.set)
    assert done.wait(WAIT)
    assert fired == ["envelope-codec-timer"]


def test_timers_fire_in_the_order_of_their_times_and_not_before() -> None:
    clock, fired, done = SystemClock(), list[tuple[str, float]](), threading.Event()
    begun = clock.monotonic()
    clock.call_later(0.06, in_turn(lambda: fired.append(("late", clock.monotonic())), done.set))
    clock.call_later(0.02, lambda: fired.append(("early", clock.monotonic())))
    clock.call_later(-1.0, lambda: fired.append(("at once", clock.monotonic())))
    assert done.wait(WAIT)
    assert [name for name, _ in fired] == ["at once", "early", "late"]
    assert fired[1][1] - begun >= 0.015
    assert fired[2][1] - begun >= 0.055


def test_a_timer_that_is_cancelled_before_its_thread_has_seen_it_never_fires() -> None:
    clock, fired, gate, done = SystemClock(), list[int](), threading.Event(), threading.Event()
    busy = threading.Event()
    clock.call_later(0.0, in_turn(busy.set, lambda: gate.wait(WAIT)))
    assert busy.wait(WAIT)
    timer = clock.call_later(0.0, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    clock.call_later(0.01, done.set)
    gate.set()
    assert done.wait(WAIT)
    assert fired == []


def test_a_timer_that_is_cancelled_while_it_waits_never_fires() -> None:
    for delay in (0.05, 0.5, 5.0):  # more, if this thread was too slow to cancel it
        clock, fired, started, done = SystemClock(), list[int](), threading.Event(), threading.Event()
        timer = clock.call_later(delay, partial(fired.append, 1))
        clock.call_later(0.0, started.set)
        assert started.wait(WAIT)
        timer.cancel()
        before = list(fired)
        clock.call_later(1.2 * delay, done.set)
        assert done.wait(WAIT)
        assert fired == before
        if not before:
            return
    pytest.fail("the timer fired each time before it was cancelled")


def test_a_timer_may_be_cancelled_after_it_has_fired() -> None:
    clock, done = SystemClock(), threading.Event()
    timer = clock.call_later(0.0, done.set)
    assert done.wait(WAIT)
    timer.cancel()
    timer.cancel()


class Held:
    def call(self) -> None: ...


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["system", "manual"])
def test_a_cancelled_timer_lets_go_of_its_callback_at_once(clock: SystemClock | ManualClock) -> None:
    held = Held()
    gone = weakref.ref(held)
    timer = clock.call_later(3_600.0, held.call)
    timer.cancel()
    del held
    gc.collect()
    assert gone() is None


def test_a_callback_that_raises_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock, done = SystemClock(), threading.Event()

    def fail() -> None:
        raise ValueError("meant")

    clock.call_later(0.0, fail)
    clock.call_later(0.01, done.set)
    assert done.wait(WAIT)


def one_thread_fires(clock: SystemClock) -> bool:
    return len(set(first_timers_of_many_threads(clock))) == 1


def first_timers_of_many_threads(clock: SystemClock) -> list[object]:
    """What eight threads that use the clock at once see: the timer's thread, or an error."""
    barrier, seen, done = threading.Barrier(8), list[object](), threading.Semaphore(0)

    def fire() -> None:
        seen.append(threading.get_ident())
        done.release()

    def use() -> None:
        barrier.wait(WAIT)
        try:
            clock.call_later(0.0, fire)
        except BaseException as error:
            seen.append(error)
            done.release()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert all(done.acquire(timeout=WAIT) for _ in threads)
    for thread in threads:
        thread.join(WAIT)
    return seen


@pytest.mark.slow
@pytest.mark.usefixtures("hurried")
def test_the_first_timers_of_many_threads_all_fire_in_one_thread() -> None:
    for _ in range(300):
        clock = SystemClock()
        seen = first_timers_of_many_threads(clock)
        assert len(seen) == 8
        assert len(set(seen)) == 1
        clock.close()


def thread_of(clock: SystemClock) -> threading.Thread:
    """The thread in which its timers fire."""
    found, done = list[threading.Thread](), threading.Event()
    clock.call_later(0.0, in_turn(lambda: found.append(threading.current_thread()), done.set))
    assert done.wait(WAIT)
    return found[0]


def test_a_clock_that_is_closed_ends_its_thread_and_fires_no_timer_more() -> None:
    clock, fired = SystemClock(), list[int]()
    timers = [clock.call_later(0.2, lambda: fired.append(1)) for _ in range(3)]
    thread = thread_of(clock)
    clock.close()
    clock.close()
    thread.join(WAIT)
    assert not thread.is_alive()
    before = list(fired)
    late = clock.call_later(0.0, lambda: fired.append(2))
    for timer in (*timers, late):
        timer.cancel()
    other = SystemClock()
    done = threading.Event()
    other.call_later(0.3, done.set)
    assert done.wait(WAIT)
    assert fired == before
    other.close()


def test_a_clock_that_was_never_used_can_be_closed() -> None:
    clock = SystemClock()
    clock.close()
    clock.call_later(0.0, lambda: None).cancel()


def test_a_clock_may_be_closed_by_its_own_timer() -> None:
    clock = SystemClock()
    thread = thread_of(clock)
    clock.call_later(0.0, clock.close)
    thread.join(WAIT)
    assert not thread.is_alive()


def test_the_thread_of_a_clock_that_is_gone_ends() -> None:
    clock = SystemClock()
    thread = thread_of(clock)
    del clock
    gc.collect()
    thread.join(WAIT)
    assert not thread.is_alive()


@pytest.mark.usefixtures("hurried")
def test_closing_while_others_set_timers_harms_nobody() -> None:
    for _ in range(50):
        clock, failed = SystemClock(), list[BaseException]()
        barrier = threading.Barrier(4)

        def use(clock: SystemClock = clock, failed: list[BaseException] = failed, barrier=barrier) -> None:  # type: ignore[no-untyped-def]
            barrier.wait(WAIT)
            try:
                for _ in range(20):
                    clock.call_later(0.0, lambda: None).cancel()
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        barrier.wait(WAIT)
        clock.close()
        for thread in threads:
            thread.join(WAIT)
        assert failed == []


def in_child(work: Callable[[], bool]) -> bool:
    """Whether ``work`` returns True in a forked child."""
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            ended = 0 if work() else 2
        finally:
            os._exit(ended)
    return os.waitpid(child, 0)[1] == 0


def fires(clock: SystemClock) -> bool:
    done = threading.Event()
    clock.call_later(0.0, done.set)
    return done.wait(WAIT)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestFork:
    def test_timers_of_parent_and_child_fire_and_those_of_the_parent_only_there(self) -> None:
        clock, fired = SystemClock(), list[int]()
        done = threading.Event()
        clock.call_later(0.2, in_turn(lambda: fired.append(os.getpid()), done.set))
        assert fires(clock)

        def child() -> bool:
            later = threading.Event()
            clock.call_later(0.4, later.set)
            return later.wait(WAIT) and os.getpid() not in fired

        assert in_child(child)
        assert done.wait(WAIT)
        assert fired == [os.getpid()]
        assert fires(clock)

    def test_a_lock_that_is_held_at_the_fork_does_not_stop_the_child(self) -> None:
        clock = SystemClock()
        assert fires(clock)
        with clock._lock:
            assert in_child(lambda: fires(clock))
        assert fires(clock)

    def test_cancelling_in_the_child_what_the_parent_scheduled_does_not_cancel_it_there(self) -> None:
        clock, done = SystemClock(), threading.Event()
        timer = clock.call_later(0.2, done.set)
        assert fires(clock)

        def child() -> bool:
            timer.cancel()
            return fires(clock)

        assert in_child(child)
        assert done.wait(WAIT)

    @pytest.mark.slow
    def test_a_clock_that_is_gone_in_the_child_goes_on_in_the_parent(self) -> None:
        clocks = [SystemClock()]
        assert fires(clocks[0])

        def child() -> bool:
            assert fires(clocks[0])
            clocks.clear()
            gc.collect()
            return True

        for _ in range(3):
            assert in_child(child)
            assert fires(clocks[0])

    def test_a_closed_clock_stays_closed_in_the_child(self) -> None:
        clock = SystemClock()
        assert fires(clock)
        clock.close()

        def child() -> bool:
            fired = threading.Event()
            clock.call_later(0.0, fired.set)
            return not fired.wait(0.2)

        assert in_child(child)

    @pytest.mark.slow
    @pytest.mark.usefixtures("hurried")
    def test_the_first_timers_of_many_threads_of_the_child_all_fire_in_one_thread(self) -> None:
        for _ in range(20):
            clock = SystemClock()
            assert fires(clock)
            assert in_child(partial(one_thread_fires, clock))
            clock.close()


def test_the_manual_clock_calls_each_timer_at_its_own_time() -> None:
    clock = ManualClock(time=100.0)
    start, fired = clock.monotonic(), list[tuple[str, float, float]]()

    def note(name: str) -> Callable[[], None]:
        return lambda: fired.append((name, clock.monotonic() - start, clock.time()))

    clock.call_later(5.0, note("late"))
    clock.call_later(2.0, in_turn(note("early"), lambda: clock.call_later(1.0, note("from a timer"))))
    clock.call_later(4.0, note("cancelled")).cancel()
    assert clock.next_due == 2.0
    clock.advance(4.5)
    assert fired == [("early", 2.0, 102.0), ("from a timer", 3.0, 103.0)]
    assert clock.next_due == 0.5
    clock.advance(0.5)
    assert fired[2:] == [("late", 5.0, 105.0)]
    assert clock.next_due is None


def test_the_manual_clock_suspends_and_steps_the_wall_clock_alone() -> None:
    clock = ManualClock(time=100.0)
    start, fired = clock.monotonic(), list[int]()
    clock.call_later(1.0, lambda: fired.append(1))
    clock.suspend(50.0)
    assert (clock.monotonic() - start, clock.time(), fired) == (0.0, 150.0, [])
    clock.suspend(-60.0)
    clock.advance(1.0)
    assert (clock.monotonic() - start, clock.time(), fired) == (1.0, 91.0, [1])


def test_a_timer_of_the_manual_clock_may_move_it_on_and_it_never_goes_back() -> None:
    clock = ManualClock(time=100.0)
    start = clock.monotonic()
    clock.call_later(1.0, lambda: clock.advance(10.0))
    clock.advance(5.0)
    assert (clock.monotonic() - start, clock.time()) == (11.0, 111.0)
