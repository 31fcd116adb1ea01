"""Calls of a keystore: timed, reported, and not made while it is known to be out of reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from envelope_codec._frames import text_of
from envelope_codec.errors import EnvelopeError, KmsUnavailable, StoreRefused, StoreUnavailable
from envelope_codec.keys.breaker import Breaker
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.observe import Event, logger, report

T = TypeVar("T")

SECONDS = 5.0
"""For an answer of a keystore. A thread waits for it."""

UNAVAILABLE = "keystore-unavailable"
"""Code of the error that a keystore gave no answer."""


class KeystoreReach:
    """One sort of calls of a keystore, and whether they get answers. A read-only keystore answers only some.

    Args:
        calls: has the clock and the observer.
        operation: ``lookup`` or ``publish``.
    """

    def __init__(self, calls: KmsCalls, operation: str) -> None:
        self._calls = calls
        self._operation = operation
        self._breaker = Breaker()

    @property
    def is_out(self) -> bool:
        """Whether the keystore gave no answer when it was last called, and it is not yet time to call it again.

        If it is time, one caller is told so, and no other for a while.
        """
        return self._breaker.is_open and not self._breaker.take_probe(self._calls.clock.monotonic())

    def call(self, namespace: str, work: Callable[[], T]) -> T:
        """Do ``work``, which calls the keystore, and report it.

        Args:
            namespace: of the record.
            work: makes the call.

        Raises:
            StoreUnavailable, StoreRefused: as the keystore raised it. What no keystore may raise becomes the former.
        """
        clock = self._calls.clock
        begun = clock.monotonic()
        failure: EnvelopeError | None = None
        result: list[T] = []
        try:
            result.append(work())
        except (StoreUnavailable, StoreRefused) as error:
            failure = error.fresh()
        except BaseException as error:
            logger.error("the keystore failed unexpectedly at %s: %s", self._operation, text_of(error))
            failure = StoreUnavailable("the keystore failed unexpectedly")
        now = clock.monotonic()
        if failure is None:
            self._breaker.close()
        else:
            self._breaker.open(now, self._calls.jitter(), begun)
        outcome, reason = (type(failure).__name__, failure.reason) if failure else ("ok", "")
        event = Event(self._operation, outcome, namespace, seconds=now - begun, reason=reason)
        report(self._calls.observer, event)
        if failure is not None:
            raise failure
        return result[0]


def keystore_unavailable(reason: str, operation: str) -> KmsUnavailable:
    """Return the error that callers get where a keystore gave no answer: retryable, like a KMS that gave none."""
    error = KmsUnavailable(reason, operation=operation)
    error.code = UNAVAILABLE
    return error
