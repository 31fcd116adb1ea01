"""Publication: the record of a new wrapping key is in the keystore before anything is sealed under it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from envelope_codec.envelope import Record
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.keystore_reach import SECONDS, KeystoreReach, keystore_unavailable
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.publication_queue import PublicationQueue
from envelope_codec.keys.row_source import RowSource
from envelope_codec.keystore import RowConflict
from envelope_codec.keystore_change import ChangeRefused, publish
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row, row_key
from envelope_codec.observe import logger

_TRIES = 4  # to write a row that others write as well


class Publication:
    """Publishes records.

    Args:
        source: the keystore; None if none is configured.
        calls: has lock, clock and observer.
        required: whether a wrapping key comes into use only once its record is published. If not, a record that can't
            be published is queued.
    """

    def __init__(self, source: RowSource | None, calls: KmsCalls, *, required: bool) -> None:
        self._source = source
        self._required = required
        self._reach = KeystoreReach(calls, "publish")
        self._queue = PublicationQueue(calls, self._write)

    @property
    def asks_keystore(self) -> bool:
        """Whether there is a keystore, which a thread waits for when it publishes."""
        return self._source is not None

    def waiting_since(self) -> list[Moment]:
        """List since when each record waits that is queued. Raises RuntimeError if one is just added."""
        return self._queue.waiting_since()

    def check(self) -> None:
        """Raise an error if a key that is made now could not come into use: then the KMS is not asked for one.

        Raises:
            KmsUnavailable: the keystore has not answered lately, and it is not yet time to ask again.
        """
        if self._source is not None and self._required and self._reach.is_out:
            raise keystore_unavailable(
                "the keystore has not answered lately, and no wrapping key seals before it is in there", "seal"
            )

    def publish(self, record: Record, tag: bytes = b"") -> bool:
        """Publish ``record``, which no payload carries yet. Runs in a thread.

        Args:
            record: of a new wrapping key.
            tag: of its row, if it is shared.

        Returns:
            Whether the keystore has it now. If not, it is queued, without its tag.

        Raises:
            KmsUnavailable: it is required, and the keystore gave no answer or refused.
        """
        if self._source is None:
            return False
        if not self._required and self._reach.is_out:
            self._queue.add(record)
            return False
        try:
            self._write(record, tag)
        except EnvelopeError as error:
            refused = isinstance(error, StoreRefused)
        else:
            self._queue.hurry()
            return True
        if not self._required:
            self._queue.add(record)
            return False
        what = "refused a row" if refused else "gave no answer"
        raise keystore_unavailable(f"the keystore {what}, and no wrapping key seals before it is in there", "seal")

    def close(self) -> None:
        """Cancel what is scheduled, and log how many records have not been published."""
        self._queue.close()

    def _write(self, record: Record, tag: bytes = b"") -> None:
        """Write the row of ``record``, and report it.

        Raises:
            StoreUnavailable, StoreRefused: it could not be written.
        """
        source = self._source
        if source is not None:
            self._reach.call(record.namespace, lambda: _merge(source, record, tag))


def _merge(source: RowSource, record: Record, tag: bytes) -> None:
    """Add ``record``, with its tag, to what the keystore has of it, which is nothing as a rule.

    It is no error if it is there already: the answer to an earlier attempt may have been lost.

    Raises:
        StoreUnavailable, StoreRefused: as the keystore raised it. The former also if others write to the row again and
            again, the latter if what is there can't be added to.
    """
    key = row_key(record)
    row: KeystoreRow | None = None
    revision: str | None = None
    for _ in range(_TRIES):
        changed = _published(record, row, tag)
        if changed == row:
            return
        with suppress(RowConflict):
            source.put(key, changed.serialize(), revision, SECONDS)
            return
        kept = source.get(key, SECONDS)
        row, revision = (None, None) if kept is None else (_parsed(key, kept.data), kept.revision)
    raise StoreUnavailable("others write to the same row of the keystore again and again", operation="publish")


def _published(record: Record, row: KeystoreRow | None, tag: bytes) -> KeystoreRow:
    """Return the row to keep. The tag is of the record's own recipients, and of no others."""
    try:
        changed = publish(record, row)
        return replace(changed, tag=tag) if tag and changed.verified == record.recipients else changed
    except ChangeRefused as error:
        logger.error("a row of the keystore can't be added to: %s", error.reason)
    raise StoreRefused("a row of the keystore can't be added to", operation="publish")


def _parsed(key: bytes, data: bytes) -> KeystoreRow:
    """Return the row that ``data`` is. One that is none may be of a later version: it is not replaced."""
    try:
        return parse_row(key, data)
    except MalformedRow as error:
        logger.error("what the keystore has of a new wrapping key is no row that this version reads: %s", error.reason)
    raise StoreRefused("a row of the keystore can't be read", operation="publish")
