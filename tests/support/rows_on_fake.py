"""A keystore in memory as the keyring's threads use it, and rows for it."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from envelope_codec.envelope import Recipient, Record
from envelope_codec.keystore import Kept
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import KeystoreRow, parse_row, row_key
from envelope_codec.testing import FakeKeystore

T = TypeVar("T")


class FakeRows:
    """A `RowSource` over a `FakeKeystore`. It needs no event loop, since the fake never waits."""

    def __init__(self, keystore: FakeKeystore | None = None) -> None:
        self.keystore = keystore or FakeKeystore()
        self.closed = 0

    def get(self, key: bytes, timeout: float) -> Kept | None:
        return _finish(self.keystore.get(key))

    def put(self, key: bytes, data: bytes, revision: str | None, timeout: float) -> str:
        return _finish(self.keystore.put(key, data, revision))

    def close(self) -> None:
        self.closed += 1

    def keep(self, row: KeystoreRow, key: bytes | None = None) -> None:
        """Put ``row`` there, whatever is there."""
        self.keystore.kept[key or row.key] = row.serialize(), f"kept-{len(self.keystore.kept)}"

    def row(self, record: Record) -> KeystoreRow | None:
        """The row of ``record``, as it is there."""
        found = self.keystore.kept.get(row_key(record))
        return parse_row(row_key(record), found[0]) if found is not None else None


def row_of(record: Record, *verified: Recipient, imported: tuple[Recipient, ...] = ()) -> KeystoreRow:
    """A row of ``record`` with these recipients and no others."""
    return replace(publish(record), verified=verified, imported=imported)


def _finish(call: Coroutine[Any, Any, T]) -> T:
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the fake keystore waits")
