"""The budgets of callers: requests, bytes, and refusals by a KMS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from envelope_codec._process import renew_after_fork
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.web.budget import UNBOUNDED, Budget, Lack
from envelope_codec.server.web.limiter import Limiter, retry_after
from envelope_codec.server.web.refusal import Refusal

BUSY_SECONDS = 1


class TooManyRefused(Exception):
    """A KMS has refused so many records of the caller that it is asked about no others for a while."""


class Admission:
    """The budgets of a server.

    Args:
        server: their sizes.
        metrics: counts what is refused.
    """

    _bytes_lock: threading.Lock

    def __init__(self, server: ServerConfig, metrics: Metrics) -> None:
        self._rate = Limiter(server.rate)
        self._refused = Limiter(server.refused_rate)
        # A request whose body still comes takes nothing from others. So only each caller's own number is bounded.
        self._requests = Budget(UNBOUNDED, server.max_requests_per_caller)
        self._slots = Budget(server.max_requests, server.max_requests_per_caller)
        self._bytes = Budget(server.max_body_bytes, server.max_body_bytes_per_caller)
        self._metrics = metrics
        # Payloads are decompressed in threads, too, and take bytes there.
        renew_after_fork(self, _bytes_lock=threading.Lock)

    def visit(self, caller: str) -> Visit:
        """Let a request of ``caller`` in. `Visit.leave` must be called at its end.

        Raises:
            Refusal: the caller asks too often, or has too many requests under way.
        """
        seconds = self._rate.take(caller)
        if seconds:
            self._metrics.count_limited("rate")
            raise Refusal(429, "too_many_requests", f"More than {self._rate.rate}.", headers=retry_after(seconds))
        if self._requests.take(caller):
            self._metrics.count_limited("requests")
            raise Refusal(
                429,
                "too_many_at_once",
                "You have too many requests under way. Try again when one of them has ended.",
                headers=retry_after(BUSY_SECONDS),
            )
        return Visit(self, caller)


class Visit:
    """The share of the budgets that one request holds until it leaves.

    Attributes:
        caller: the one who made the request.
    """

    def __init__(self, admission: Admission, caller: str) -> None:
        self.caller = caller
        self._admission = admission
        self._bytes = 0
        # A cancelled task may end after its request. It must neither take nor give back anything then.
        self._over = False

    def take_bytes(self, count: int) -> None:
        """Count memory that the request needs from now on until its end. Any thread may call it.

        Raises:
            Refusal: there is no room for so many.
        """
        budget, metrics = self._admission._bytes, self._admission._metrics
        with self._admission._bytes_lock:
            if self._over:
                raise _busy()
            lack = budget.take(self.caller, count)
            if lack is None:
                self._bytes += count
        if lack is None:
            metrics.add_body_bytes(count)
            return
        metrics.count_limited("bytes")
        if lack is Lack.own:
            raise Refusal(
                429,
                "too_many_bytes",
                "Your requests under way are too large together. Send less at once, or try again when one has ended.",
                headers=retry_after(BUSY_SECONDS),
            )
        raise _busy()

    def give_back_bytes(self, count: int) -> None:
        """Give back ``count`` bytes that were taken."""
        with self._admission._bytes_lock:
            if self._over:
                return
            self._bytes -= count
            self._admission._bytes.give_back(self.caller, count)
        self._admission._metrics.add_body_bytes(-count)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the slots for requests that are being answered.

        Raises:
            Refusal: no slot is free.
        """
        slots = self._admission._slots
        if slots.take(self.caller):
            self._admission._metrics.count_limited("slots")
            raise _busy()
        try:
            yield
        finally:
            slots.give_back(self.caller)

    def check_refused(self) -> None:
        """Check that a KMS may still be asked about a record of the caller.

        Raises:
            TooManyRefused: it must not be.
        """
        if self._admission._refused.wait_time(self.caller):
            self._admission._metrics.count_limited("refused_unwraps")
            raise TooManyRefused

    def count_refused(self) -> None:
        """Count a record that a KMS has refused, even if it is one too many by now."""
        self._admission._refused.count(self.caller)

    def leave(self) -> None:
        """Give back everything that the request holds."""
        self._admission._requests.give_back(self.caller)
        with self._admission._bytes_lock:
            held, self._bytes, self._over = self._bytes, 0, True
            if held:
                self._admission._bytes.give_back(self.caller, held)
        self._admission._metrics.add_body_bytes(-held)


def _busy() -> Refusal:
    return Refusal(503, "busy", "The server is busy. Try again.", headers=retry_after(BUSY_SECONDS))
