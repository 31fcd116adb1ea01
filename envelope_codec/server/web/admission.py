"""Who is let in, and how much of the server one caller may have: requests, bytes, and refusals by a KMS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from envelope_codec.server.config import ServerConfig
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.web.budget import UNBOUNDED, Budget, Lack
from envelope_codec.server.web.limiter import Limiter, retry_after
from envelope_codec.server.web.refusal import Refusal

BUSY_SECONDS = 1


class TooManyRefused(Exception):
    """So many records of the caller were refused by a KMS that no other is asked about for a while."""


class Admission:
    """The budgets of a server.

    Args:
        server: their sizes.
        metrics: counts what is refused.
    """

    def __init__(self, server: ServerConfig, metrics: Metrics) -> None:
        self._rate = Limiter(server.rate)
        self._refused = Limiter(server.refused_rate)
        # Those whose body still comes take nothing from others, and so only a caller's own are counted.
        self._requests = Budget(UNBOUNDED, server.max_requests_per_caller)
        self._slots = Budget(server.max_requests, server.max_requests_per_caller)
        self._bytes = Budget(server.max_body_bytes, server.max_body_bytes_per_caller)
        self._metrics = metrics

    def visit(self, caller: str) -> Visit:
        """Let a request of ``caller`` in; its `Visit.leave` must be called.

        Raises:
            Refusal: the caller asks too often, or has too many requests under way.
        """
        seconds = self._rate.take(caller)
        if seconds:
            self._metrics.limited("rate")
            raise Refusal(429, "too_many_requests", f"More than {self._rate.rate}.", headers=retry_after(seconds))
        if self._requests.take(caller):
            self._metrics.limited("requests")
            raise Refusal(
                429,
                "too_many_at_once",
                "You have too many requests under way. Try again when one of them has ended.",
                headers=retry_after(BUSY_SECONDS),
            )
        return Visit(self, caller)


class Visit:
    """What one request holds of the budgets, until it leaves.

    Attributes:
        caller: whose request it is.
    """

    def __init__(self, admission: Admission, caller: str) -> None:
        self.caller = caller
        self._admission = admission
        self._bytes = 0
        self._over = False  # what was cancelled may end after the request, and must take and give back nothing then

    def take_bytes(self, count: int) -> None:
        """Count memory that the request needs from now on, to its end.

        Raises:
            Refusal: there is no room for them.
        """
        if self._over:
            raise _busy()
        budget, metrics = self._admission._bytes, self._admission._metrics
        lack = budget.take(self.caller, count)
        if lack is None:
            self._bytes += count
            metrics.holds_bytes(count)
            return
        metrics.limited("bytes")
        if lack is Lack.own:
            raise Refusal(
                429,
                "too_many_bytes",
                "Your requests under way are too large together. Send less at once, or try again when one has ended.",
                headers=retry_after(BUSY_SECONDS),
            )
        raise _busy()

    def give_back_bytes(self, count: int) -> None:
        """Count ``count`` bytes no more that were counted."""
        if self._over:
            return
        self._bytes -= count
        self._admission._bytes.give_back(self.caller, count)
        self._admission._metrics.holds_bytes(-count)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """One of the places for requests that are being answered.

        Raises:
            Refusal: there is none.
        """
        slots = self._admission._slots
        if slots.take(self.caller):
            self._admission._metrics.limited("slots")
            raise _busy()
        try:
            yield
        finally:
            slots.give_back(self.caller)

    def ask(self) -> None:
        """Before a KMS is asked about a record.

        Raises:
            TooManyRefused: it must not be.
        """
        if self._admission._refused.late(self.caller):
            self._admission._metrics.limited("refused_unwraps")
            raise TooManyRefused

    def was_refused(self) -> None:
        """Count a record that a KMS has refused. Those that were asked about meanwhile may be too many."""
        self._admission._refused.count(self.caller)

    def leave(self) -> None:
        """Give back everything."""
        self._admission._requests.give_back(self.caller)
        if self._bytes:
            self.give_back_bytes(self._bytes)
        self._over = True


def _busy() -> Refusal:
    return Refusal(503, "busy", "The server is busy. Try again.", headers=retry_after(BUSY_SECONDS))
