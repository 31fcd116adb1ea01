"""Calls of a KMS: they run in threads of their own, are retried, and are shared by callers who want the same."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from envelope_codec._backoff import Backoff, shorten
from envelope_codec._frames import text_of
from envelope_codec._process import renew_after_fork
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable, MalformedEnvelope
from envelope_codec.keys.breaker import Breaker
from envelope_codec.keys.clock import Clock
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.turns import Turns, Waiting
from envelope_codec.kms import MasterKey, provider_name
from envelope_codec.observe import Event, LogObserver, Observer, logger, report
from envelope_codec.provider.meanings import FAULT, THROTTLED

T = TypeVar("T")

_BACKOFF = Backoff(0.1, 5.0)


class Threads(Enum):
    """Threads of a sort of flights, and how many. Each sort has its own, so that it does not delay the others."""

    GENERAL = 32
    """Of one caller or record each: there may be a flood of them."""

    URGENT = 4
    """Many callers wait for each, and it asks a KMS alone."""

    KEYSTORE = 8
    """Many callers wait for each, and it asks a keystore too, which may be slow while the KMS is quick."""

    @property
    def urgent(self) -> bool:
        """Whether many callers wait for each flight."""
        return self is not Threads.GENERAL


@dataclass
class _Attempt:
    """One attempt of a flight.

    Attributes:
        urgent: whether many wait for it, so that it waits for no turn.
        turn: the turns of which it has had one.
        waits_for: the turns that the next attempt waits for, as the master key throttles.
        namespace: for which that master key is called.
    """

    urgent: bool
    turn: Turns | None = None
    waits_for: Turns | None = None
    namespace: str = ""

    def wait_for(self, turns: Turns, namespace: str) -> None:
        """Have the next attempt wait for its turn."""
        self.waits_for, self.namespace = turns, namespace


class KmsCalls:
    """Runs flights, and the KMS calls that they make.

    Args:
        clock: where the time comes from.
        observer: receives an event for each call.
        spawn: runs a function in some thread; a pool of this object's own if None.
        jitter: a number from 0 to 1.

    Attributes:
        lock: guards the state of everything that shares this object. Held for moments only: never during a call,
            never while an observer or a waiter is told.
    """

    lock: threading.Lock

    def __init__(
        self,
        *,
        clock: Clock,
        observer: Observer | None = None,
        spawn: Callable[[Callable[[], None]], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self.observer: Observer = LogObserver() if observer is None else observer
        self._carries_context = bool(getattr(self.observer, "carries_context", False))
        self.jitter = jitter
        renew_after_fork(self, lock=threading.Lock)
        self.closed = False
        self._flying: set[Flight[Any]] = set()
        self._spawn = spawn
        self._pools: dict[Threads, ThreadPoolExecutor] = {}
        # By identity: a provider's object may have no hash.
        self._breakers: dict[int, tuple[MasterKey, Breaker]] = {}
        self._turns: dict[int, Turns] = {}  # of master keys that have a breaker, which holds them
        self._here = threading.local()  # the attempt that this thread makes

    def breaker(self, master: MasterKey) -> Breaker:
        """Return the circuit breaker of ``master``."""
        found = self._breakers.get(id(master))
        if found is None:
            found = self._breakers.setdefault(id(master), (master, Breaker()))
        return found[1]

    def breakers(self) -> list[tuple[MasterKey, Breaker]]:
        """List the circuit breakers, with their master keys. Raises RuntimeError if one is just added."""
        return list(self._breakers.values())

    def note(self, master: MasterKey, failure: EnvelopeError | None) -> None:
        """Record the outcome of a call of ``master`` in its breaker."""
        if isinstance(failure, KmsUnavailable):
            self.breaker(master).open(self.clock.monotonic(), self.jitter())
        else:
            self.breaker(master).close()

    def call(self, operation: str, master: MasterKey, namespace: str, work: Callable[[], T]) -> T:
        """Make one call in this thread, and report it.

        Raises:
            EnvelopeError: as the provider raised it. An error that no provider may raise is logged, and
                becomes `KmsUnavailable`: it says nothing of the key.
            KmsUnavailable: no call is made, since the master key throttles and it is not this attempt's turn.
        """
        turns, attempt = self._turns_of(master), self._attempt_here()
        if attempt.turn is not turns and not turns.take(urgent=attempt.urgent):
            attempt.wait_for(turns, namespace)
            raise THROTTLED.make_error(operation=operation, key_id=master.key_id)
        begun = self.clock.monotonic()
        failure: EnvelopeError | None = None
        result: list[T] = []
        try:
            result.append(work())
        except BaseException as error:
            failure = translate_error(error, operation, master)
        self.note(master, failure)
        if failure is not None and failure.code == THROTTLED.code:
            turns.throttle(begun)
            attempt.wait_for(turns, namespace)
        elif not isinstance(failure, KmsUnavailable):
            turns.answer(begun)
        event = Event(
            operation,
            type(failure).__name__ if failure else "ok",
            namespace,
            master.key_id,
            self.clock.monotonic() - begun,
            reason=str(failure) if failure else "",
            provider=provider_name(master),
        )
        report(self.observer, event)
        if failure is not None:
            raise failure
        return result[0]

    def fly(self, flight: Flight[T], landed: Callable[[], object], *, threads: Threads = Threads.GENERAL) -> None:
        """Run ``flight`` to its outcome, in these threads.

        Call ``landed`` under the lock then, before waiters get the outcome.
        """
        with self.lock:
            if self.closed:
                landed()
                failed = True
            else:
                self._flying.add(flight)
                failed = False
        if failed:
            flight.fail(keyring_closed())
            return
        if self._carries_context:
            flight.context = copy_context()
        self._launch(flight, landed, threads)

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        return shorten(_BACKOFF.seconds(failures), self.jitter())

    def close(self) -> None:
        """Fail every flight, and start no more. Nobody gets the outcome of calls under way."""
        with self.lock:
            self.closed = True
            flying, self._flying = self._flying, set()
            for turns in list(self._turns.values()):  # a call that comes now may add some
                turns.close()
            pools, self._pools = self._pools, {}
        for flight in flying:
            if flight.timer is not None:
                flight.timer.cancel()
            flight.fail(keyring_closed())
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _turns_of(self, master: MasterKey) -> Turns:
        self.breaker(master)
        found = self._turns.get(id(master))
        return found or self._turns.setdefault(id(master), Turns(self))

    def _attempt_here(self) -> _Attempt:
        """Return the attempt that this thread makes. A call outside of any is urgent."""
        attempt: _Attempt | None = getattr(self._here, "attempt", None)
        return attempt or _Attempt(urgent=True)

    def _launch(
        self, flight: Flight[T], landed: Callable[[], object], threads: Threads, turn: Turns | None = None
    ) -> None:
        def attempt() -> None:
            outer = getattr(self._here, "attempt", None)
            self._here.attempt = _Attempt(threads.urgent, turn)
            try:
                if flight.context is None:
                    self._attempt(flight, landed, threads)
                else:  # a copy, as one context can't be entered twice
                    flight.context.copy().run(self._attempt, flight, landed, threads)
            finally:
                self._here.attempt = outer

        try:
            if self._spawn is not None:
                self._spawn(attempt)
            else:
                self._pool(threads).submit(attempt)
        except RuntimeError:  # the interpreter is shutting down, or `close` was faster
            self._land(flight, landed)
            flight.fail(keyring_closed())

    def _pool(self, threads: Threads) -> ThreadPoolExecutor:
        with self.lock:
            if self.closed:
                raise RuntimeError("closed")
            if threads not in self._pools:
                self._pools[threads] = ThreadPoolExecutor(threads.value, thread_name_prefix="envelope-codec-kms")
            return self._pools[threads]

    def _attempt(self, flight: Flight[T], landed: Callable[[], object], threads: Threads) -> None:
        failure: EnvelopeError
        try:
            if self.closed:
                raise keyring_closed()
            result = flight.work()
        except EnvelopeError as error:
            failure = error
        except BaseException as error:
            logger.error("an attempt failed unexpectedly: %s", text_of(error))
            failure = KmsUnavailable("an attempt failed unexpectedly")
        else:
            self._land(flight, landed)
            flight.finish(result)
            return
        if not self._again(flight, landed, threads, failure):
            flight.fail(failure)

    def _again(self, flight: Flight[T], landed: Callable[[], object], threads: Threads, failure: EnvelopeError) -> bool:
        """Schedule another attempt, or land. Return whether there is another."""
        attempt = self._attempt_here()
        turns = None if threads.urgent else attempt.waits_for
        with self.lock:
            flight.failures += 1
            flight.last_error = failure.fresh()
            delay = 0.0 if turns is not None else self.backoff(flight.failures)
            if failure.retryable and not self.closed and flight.may_retry(self.clock.monotonic() + delay):
                try:
                    if turns is not None:
                        turns.join(self._waiting(flight, landed, attempt, turns, failure), again=attempt.turn is turns)
                    else:
                        flight.timer = self.clock.call_later(delay, lambda: self._launch(flight, landed, threads))
                    return True
                except RuntimeError as error:  # no thread for timers: callers are told, and may try again
                    logger.error("a timer can't be started: %s", error)
            landed()
            self._flying.discard(flight)
            return False

    def _waiting(
        self,
        flight: Flight[T],
        landed: Callable[[], object],
        attempt: _Attempt,
        turns: Turns,
        failure: EnvelopeError,
    ) -> Waiting:
        """Return the attempt of ``flight`` after ``attempt``, for the queue of a master key that throttles."""

        def drop() -> bool:
            if flight.may_retry(self.clock.monotonic()):
                return False
            landed()
            self._flying.discard(flight)
            return True

        return Waiting(
            attempt.namespace,
            drop=drop,
            begin=lambda: self._launch(flight, landed, Threads.GENERAL, turns),
            give_up=lambda: flight.fail(failure),
        )

    def _land(self, flight: Flight[T], landed: Callable[[], object]) -> None:
        with self.lock:
            landed()
            self._flying.discard(flight)


def translate_error(error: BaseException, operation: str, master: MasterKey) -> EnvelopeError:
    """Return what callers get for a provider's error, which is being handled. Log what no provider may raise."""
    for kind in (KmsUnavailable, KeyDenied, InvalidCiphertext, MalformedEnvelope):
        if isinstance(error, kind):  # not the error itself: a subclass may not be one that can be copied
            copy = kind(error.reason, operation=error.operation, key_id=error.key_id)
            copy.code = error.code
            return copy
    logger.error("the provider of %s failed unexpectedly at %s: %s", master.key_id, operation, text_of(error))
    return FAULT.make_error(operation=operation, key_id=master.key_id)


def keyring_closed() -> KmsUnavailable:
    """Return the error that a caller gets from a keyring that has been closed."""
    return KmsUnavailable("the keyring has been closed")
