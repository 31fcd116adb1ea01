"""The import of records that histories hold into a keystore, so that they can be re-wrapped there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from envelope_codec._backoff import Backoff
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.envelope import Purpose, Record
from envelope_codec.errors import EnvelopeError, StoreUnavailable
from envelope_codec.keystore import RowConflict
from envelope_codec.keystore_change import import_record
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row, row_key

_T = TypeVar("_T")

MAX_ROWS = 1_000_000
"""How many rows one audit makes at most. Whoever can write to Temporal can make up any number of records."""

_REMEMBERED = 100_000
_TRIES = 5
_PAUSE = Backoff(0.5, 5.0)


@dataclass
class Imported:
    """What has become of the records that were found.

    Attributes:
        added: how many rows were made.
        extended: how many rows have got recipients that they had not.
        known: how many rows had all of them.
        full: how many of these rows have no room for all of them.
        foreign: how many are no row that this release can read. They are left as they are.
        left: how many records were left out, because `MAX_ROWS` rows had been made.
    """

    added: int = 0
    extended: int = 0
    known: int = 0
    full: int = 0
    foreign: int = 0
    left: int = 0

    def counts(self) -> dict[str, int]:
        """Return the counts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class RecordImport:
    """Puts records into a keystore. Nobody vouches for them there: they replace nothing, and are asked last.

    Args:
        keystore: gets the records.
        sleep: waits for so many seconds.
    """

    def __init__(self, keystore: KeystoreClient, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self.imported = Imported()
        self._keystore = keystore
        self._sleep = sleep
        self._pending: list[Record] = []
        self._seen: set[bytes] = set()

    def note(self, record: Record) -> None:
        """Take ``record`` for the next `flush`, unless it was noted lately or is of direct mode."""
        if record.purpose is Purpose.DATA_KEY:
            return
        digest = blake2b(record.wire + record.key_id_bytes, digest_size=16).digest()
        if digest in self._seen:
            return
        if len(self._seen) == _REMEMBERED:  # to import a record again changes nothing
            self._seen.clear()
        self._seen.add(digest)
        self._pending.append(record)

    async def flush(self) -> None:
        """Import what was noted.

        Raises:
            Stopped: the keystore gave no answer several times, or refused.
        """
        try:
            while self._pending:
                await self._import(self._pending.pop())
        except EnvelopeError as error:
            raise Stopped(f"a record can't be imported into the keystore: {error}") from None

    async def _import(self, record: Record) -> None:
        key = row_key(record)
        for _ in range(_TRIES):
            kept = await self._retried(partial(self._keystore.get, key))
            row: KeystoreRow | None = None
            if kept is not None:
                try:
                    row = parse_row(key, kept.data)
                except MalformedRow:  # it may be of a later version
                    self.imported.foreign += 1
                    return
            elif self.imported.added >= MAX_ROWS:
                self.imported.left += 1
                return
            changed = import_record(record, row)
            if changed != row:
                revision = kept.revision if kept is not None else None
                try:
                    await self._retried(partial(self._keystore.put, key, changed.serialize(), revision))
                except RowConflict:  # another audit or a worker was first, or the answer to an attempt was lost
                    continue
            self._count(record, row, changed)
            return
        raise StoreUnavailable("others write to the same row of the keystore again and again", operation="import")

    def _count(self, record: Record, row: KeystoreRow | None, changed: KeystoreRow) -> None:
        names = {one.key_id for one in changed.verified}
        if any(one.key_id not in names and one not in changed.imported for one in record.recipients):
            self.imported.full += 1
        if row is None:
            self.imported.added += 1
        elif changed == row:
            self.imported.known += 1
        else:
            self.imported.extended += 1

    async def _retried(self, call: Callable[[], Awaitable[_T]]) -> _T:
        for failures in range(1, _TRIES):
            with suppress(StoreUnavailable):
                return await call()
            await self._sleep(_PAUSE.seconds(failures))
        return await call()
