"""The events that a codec reports: for each call of `encode` or `decode`, one for each kind of payload in it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from temporalio.api.common.v1 import Payload

from envelope_codec._frames import is_expected, place_of, without_frames
from envelope_codec.envelope import MIN_DATA
from envelope_codec.errors import EnvelopeError
from envelope_codec.observe import Event, LogObserver, Observer, logger, report


class CodecEvents:
    """Reports to one observer what happens to payloads of one namespace.

    Args:
        observer: receives the events.
        namespace: stands in each event.

    Attributes:
        wants_successes: whether the observer does anything with a success.
    """

    def __init__(self, observer: Observer, namespace: str) -> None:
        self._observer = observer
        self._namespace = namespace
        # `LogObserver` logs nothing about a success.
        self.wants_successes = bool(getattr(observer, "wants_successes", type(observer) is not LogObserver))

    def for_namespace(self, namespace: str) -> CodecEvents:
        """Return what reports events of ``namespace`` to the same observer."""
        return CodecEvents(self._observer, namespace)

    def report_success(self, operation: str, count: int, begun: float, size: int = 0, fetched: int = 0) -> None:
        """Report ``count`` payloads.

        Args:
            operation: what was done with them.
            count: how many they are.
            begun: when the call began, by `time.perf_counter`.
            size: their bytes, as `Event` has them.
            fetched: how many of their keys were not at hand.
        """
        if self.wants_successes:
            self._report(operation, count, begun, None, size, fetched)

    def report_opened(self, others: Mapping[str, int], count: int, begun: float, size: int, fetched: int) -> None:
        """Report what became of ``count`` payloads: so many of some operations, and the rest was opened.

        The other arguments are as in `report_success`, of those that were opened.
        """
        for operation in filter(others.get, others):
            self.report_success(operation, others[operation], begun)
        opened = count - sum(others.values())
        if opened:
            self.report_success("open", opened, begun, size, fetched)

    def report_compression(self, payloads: Sequence[Payload], sealed: Sequence[Payload], size: int) -> None:
        """Report what compression made of ``payloads``, which became ``sealed``, one for one.

        Args:
            size: bytes of those that were sealed. To ask protobuf for them takes as long as to write them once more.
        """
        if not self.wants_successes:
            return
        ours = [one for plain, one in zip(payloads, sealed, strict=True) if one is not plain]
        after = sum(len(one.data) - MIN_DATA for one in ours)
        report(
            self._observer,
            Event("compress", "ok", self._namespace, payloads=len(ours), bytes_before=size, bytes_after=after),
        )

    def prepare_failure(self, operation: str, count: int, begun: float, error: BaseException) -> BaseException:
        """Report a failed call, and return what to raise in place of ``error``.

        It is without frames, which hold keys and what was opened before. An unexpected error becomes one of ours: its
        words may be the user's data, and Temporal's SDK would store them in clear.
        """
        if not is_expected(error):
            logger.error("the codec failed unexpectedly at %s: %s", operation, place_of(error))
            error = EnvelopeError("the codec failed unexpectedly", operation=operation)
        without_frames(error)
        if isinstance(error, EnvelopeError):
            self._report(operation, count, begun, error)
        return error

    def _report(
        self,
        operation: str,
        count: int,
        begun: float,
        error: EnvelopeError | None,
        size: int = 0,
        fetched: int = 0,
    ) -> None:
        event = Event(
            operation,
            type(error).__name__ if error else "ok",
            self._namespace,
            (error.key_id or "") if error else "",
            time.perf_counter() - begun,
            count,
            str(error) if error else "",
            size=size,
            fetched=fetched,
        )
        report(self._observer, event)
