"""Records that have not been published yet, although payloads are sealed under them."""

from __future__ import annotations

from collections.abc import Callable

from envelope_codec._backoff import Backoff, shorten
from envelope_codec.envelope import Record
from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.moment import Moment
from envelope_codec.observe import Event, logger, report

_MOST = 4_096  # records
_BACKOFF = Backoff(1.0, 60.0)


class PublicationQueue:
    """Publishes in the background what could not be published at once. The lock of the calls guards it.

    It belongs to one process: the records of a forked child are the child's own.

    Args:
        calls: has lock and clock, and runs attempts.
        write: publishes one record. Raises `EnvelopeError` if it can't.
    """

    def __init__(self, calls: KmsCalls, write: Callable[[Record], None]) -> None:
        self._calls = calls
        self._write = write
        self._records: dict[bytes, Record] = {}  # by id, oldest first
        self._since: dict[bytes, Moment] = {}  # of the same
        self._failures = 0
        self._timer: Timer | None = None
        self._flying = False

    def add(self, record: Record) -> None:
        """Publish ``record`` as soon as the keystore answers. If too many wait, the oldest is given up, and logged."""
        lost: Record | None = None
        with self._calls.lock:
            if len(self._records) >= _MOST:
                lost = self._records.pop(next(iter(self._records)))
                self._since.pop(lost.id, None)
            self._records[record.id] = record
            self._since.setdefault(record.id, Moment.now(self._calls.clock))
            waiting = len(self._records)
            self._schedule()
        text = "the keystore does not have the record %s of namespace %.200r yet, and payloads are sealed under it"
        logger.warning(text + " (%d such records wait)", record.id.hex(), record.namespace, waiting)
        self._report(record, waiting)
        if lost is not None:
            _log_lost("too many records wait for the keystore", [lost])

    def waiting_since(self) -> list[Moment]:
        """List since when each record waits. Needs no lock. Raises RuntimeError if one is just added."""
        return list(self._since.values())

    def hurry(self) -> None:
        """Publish what waits, since the keystore has just answered."""
        with self._calls.lock:
            if not self._records or self._flying:
                return
            self._failures = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._schedule()

    def close(self) -> None:
        """Cancel what is scheduled, and log what has not been published."""
        with self._calls.lock:
            left, self._records, self._since = list(self._records.values()), {}, {}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if left:
            _log_lost("the keyring was closed", left)

    def _schedule(self) -> None:
        """Set the timer of the next attempt, unless there is one. Called under the lock."""
        if self._timer is None and not self._flying and not self._calls.closed:
            delay = shorten(_BACKOFF.seconds(self._failures + 1), self._calls.jitter())
            self._timer = self._calls.clock.call_later(delay, self._fire)

    def _fire(self) -> None:
        with self._calls.lock:
            self._timer = None
            if self._flying or self._calls.closed or not self._records:
                return
            self._flying = True
        self._calls.fly(Flight(self._drain), self._land)

    def _land(self) -> None:
        """Take note that an attempt has ended. Called under the lock."""
        self._flying = False
        if self._records:
            self._schedule()

    def _drain(self) -> None:
        """Publish one record after another until one can't be. Runs in a thread."""
        while not self._calls.closed:
            with self._calls.lock:
                record = next(iter(self._records.values()), None)
            if record is None:
                return
            try:
                self._write(record)
            except EnvelopeError:
                with self._calls.lock:
                    self._failures += 1
                    if self._records.pop(record.id, None) is not None:  # it may be to blame: others come first now
                        self._records[record.id] = record
                return
            with self._calls.lock:
                self._records.pop(record.id, None)
                self._since.pop(record.id, None)
                self._failures = 0
                waiting = len(self._records)
            self._report(record, waiting)

    def _report(self, record: Record, waiting: int) -> None:
        report(self._calls.observer, Event("queue", "ok", record.namespace, queued=waiting))


def _log_lost(why: str, records: list[Record]) -> None:
    """Log which records the keystore will not get from this process."""
    logger.error(
        "%s: %d records were never published, and master keys that their payloads name can't be retired before "
        "`envelope-codec audit --import` has found them: %s",
        why,
        len(records),
        ", ".join(record.id.hex() for record in records[:20]),
    )
