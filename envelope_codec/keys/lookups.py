"""Lookups: the rows that a keystore has of records, each looked up once for all who want it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from envelope_codec._frames import text_of
from envelope_codec.envelope import Purpose, Record
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable
from envelope_codec.keys.brief_cache import BriefCache
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.keystore_reach import SECONDS, KeystoreReach, keystore_unavailable
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.lookup_turns import LookupTurns
from envelope_codec.keys.row_source import RowSource
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row, row_key
from envelope_codec.observe import Event, logger, report

_REMEMBERED = 1_024  # rows: each may take 64 KiB, and whoever writes to the keystore may have made all so long


class Answer(NamedTuple):
    """What a keystore has of one record.

    Attributes:
        row: None if there is none, or none that is valid.
    """

    row: KeystoreRow | None


class Lookups:
    """Finds the rows of records. An answer counts for ``refusal_ttl``, so that what a rewrap adds is seen soon.

    Args:
        source: the keystore; None if none is configured.
        calls: has lock, clock and observer.
        limits: times and bounds.
    """

    def __init__(self, source: RowSource | None, calls: KmsCalls, limits: Limits) -> None:
        self._source = source
        self._calls = calls
        self._reach = KeystoreReach(calls, "lookup")
        self._turns = LookupTurns(calls.clock.monotonic)
        size = min(limits.cache_size, _REMEMBERED)
        self._answers: BriefCache[Answer] = BriefCache(size, limits.refusal_ttl, calls.clock.monotonic)
        self._under_way: dict[bytes, Future[Answer]] = {}

    def cover(self, record: Record) -> bool:
        """Say whether there may be a row of ``record``. A data key serves one payload, and is never kept."""
        return self._source is not None and record.purpose is not Purpose.DATA_KEY

    def find(self, record: Record) -> KeystoreRow | None:
        """Return the row of ``record``; None if there is none. Runs in a thread.

        Raises:
            KmsUnavailable: the keystore gave no answer. A refusal is none: it says nothing of the row.
        """
        if self._source is None or not self.cover(record):
            return None
        key = row_key(record)
        with self._calls.lock:
            answer = self._answers.get(key)
        if answer is None:
            answer = self._in_turn(key, self._source, record)
        return answer.row if answer.row is not None and answer.row.belongs_to(record) else None

    def _in_turn(self, key: bytes, source: RowSource, record: Record) -> Answer:
        """Return what the keystore has under ``key``. Whoever waits for another's lookup takes a turn as well.

        For that is a thread that waits for the keystore, and whoever can write to Temporal can spell one record anyhow.
        """
        with self._turns.turn() as taken:
            if not taken:
                report(self._calls.observer, Event("refuse", "ok", record.namespace, reason="keystore_lookups"))
                raise keystore_unavailable("the keystore is slow, and others wait for it", "open")
            return self._answer(key, source, record)

    def _answer(self, key: bytes, source: RowSource, record: Record) -> Answer:
        """Return what the keystore has under ``key``: what it last said, or what a lookup says."""
        with self._calls.lock:
            answer = self._answers.get(key)
            if answer is not None:
                return answer
            lookup = self._under_way.get(key)
            new = lookup is None
            if lookup is None:
                lookup = self._under_way[key] = Future()
        if new:
            self._end(key, lookup, source, record)
        return _outcome(lookup)

    def _end(self, key: bytes, lookup: Future[Answer], source: RowSource, record: Record) -> None:
        """Look up a row, and tell all who wait for that."""
        failure: EnvelopeError
        try:
            answer = self._ask(key, source, record)
        except EnvelopeError as error:
            failure = error
        except BaseException as error:  # a keystore may hand out anything; those who wait must hear of it
            logger.error("the keystore failed unexpectedly at lookup: %s", text_of(error))
            failure = keystore_unavailable("the keystore failed unexpectedly", "open")
        else:
            with self._calls.lock:
                self._answers[key] = answer
                self._under_way.pop(key, None)
            lookup.set_result(answer)
            return
        with self._calls.lock:
            self._under_way.pop(key, None)
        lookup.set_exception(failure)

    def _ask(self, key: bytes, source: RowSource, record: Record) -> Answer:
        if self._reach.is_out:
            raise keystore_unavailable("the keystore has not answered lately", "open")
        try:
            kept = self._reach.call(record.namespace, lambda: source.get(key, SECONDS))
        except (StoreUnavailable, StoreRefused) as error:
            refused = isinstance(error, StoreRefused)
            reason = "the keystore refused to be read" if refused else "the keystore gave no answer"
        else:
            return Answer(self._parse(key, kept.data, record) if kept is not None else None)
        raise keystore_unavailable(reason, "open")

    def _parse(self, key: bytes, data: bytes, record: Record) -> KeystoreRow | None:
        """Return the row that ``data`` is, if it is one. Whoever can write to the keystore may have left anything."""
        try:
            row = parse_row(key, data)
            if row.belongs_to(record):
                return row
            reason = "the row is of another record"
        except MalformedRow as error:
            reason = error.reason
        report(self._calls.observer, Event("lookup", MalformedRow.__name__, record.namespace, reason=reason))
        return None


def _outcome(lookup: Future[Answer]) -> Answer:
    """Wait for a lookup, and return its answer.

    Raises:
        KmsUnavailable: it failed.
    """
    failure: EnvelopeError
    try:
        return lookup.result(2 * SECONDS)
    except EnvelopeError as error:
        failure = error.fresh()
    except Exception:  # it did not end in its time
        failure = keystore_unavailable("the keystore gave no answer", "open")
    raise failure
