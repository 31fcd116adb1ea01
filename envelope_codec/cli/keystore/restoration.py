"""A restoration: rows of a backup are brought back, and nothing that is there is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from envelope_codec.cli.reading.batch import run_all
from envelope_codec.cli.reading.progress import Watcher
from envelope_codec.keystore import Kept, RowConflict
from envelope_codec.keystore_change import ChangeRefused, restore
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row

_AT_ONCE = 16
_TRIES = 5  # to write a row that others write as well


class Rows(Protocol):
    """What is needed of a keystore."""

    async def get(self, key: bytes) -> Kept | None: ...

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str: ...


class Restoration:
    """Brings rows back into a keystore.

    Args:
        keystore: gets the rows.
        progress: is told how far it has come.

    Attributes:
        added, changed, same: how many rows were missing, lacked recipients, or lacked nothing.
        failures: how many could not be brought back, by reason.
    """

    def __init__(self, keystore: Rows, progress: Watcher) -> None:
        self.added = self.changed = self.same = 0
        self.failures: Counter[str] = Counter()
        self._keystore = keystore
        self._progress = progress

    async def run(self, rows: Iterable[KeystoreRow]) -> None:
        """Bring ``rows`` back.

        Raises:
            EnvelopeError: the keystore gives no answer or refuses. The same call goes on where this one ended.
        """
        waiting = iter(rows)

        async def work() -> None:
            for row in waiting:
                await self._bring_back(row)
                self._progress.advance()

        await run_all([work() for _ in range(_AT_ONCE)])

    async def _bring_back(self, saved: KeystoreRow) -> None:
        for _ in range(_TRIES):
            kept = await self._keystore.get(saved.key)
            try:
                row = parse_row(saved.key, kept.data) if kept is not None else None
                changed = restore(saved, row)
            except MalformedRow:  # it may be of a later version
                self.failures["what the keystore has can't be read by this version, and was left as it is"] += 1
                return
            except ChangeRefused as error:
                self.failures[error.reason] += 1
                return
            if changed == row:
                self.same += 1
                return
            try:
                await self._keystore.put(saved.key, changed.serialize(), kept.revision if kept is not None else None)
            except RowConflict:
                continue
            self.added += row is None
            self.changed += row is not None
            return
        self.failures["others write to the same row again and again"] += 1
