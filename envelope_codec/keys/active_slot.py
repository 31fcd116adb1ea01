"""The active slot of a keystore: it names the row of the wrapping key that is shared now."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from envelope_codec.envelope import Record
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.keystore_reach import KeystoreReach
from envelope_codec.keys.row_source import RowSource
from envelope_codec.keystore import RowConflict
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row, row_key
from envelope_codec.keystore_sharing import Shared, make_slot, parse_slot
from envelope_codec.observe import Event, report

_SECONDS = 2.0  # for an answer; whoever waits goes on without
_OPERATION = "share"


class Seen(NamedTuple):
    """What an active slot said.

    Attributes:
        row: the row that it names. None: it names none that is valid, or that of the key in use.
        revision: of the slot; None if there is none.
    """

    row: KeystoreRow | None
    revision: str | None


class ActiveSlot:
    """Reads and writes active slots. Each method makes two calls of the keystore at most, of two seconds each.

    Args:
        source: the keystore.
        calls: has clock and observer.
    """

    def __init__(self, source: RowSource, calls: KmsCalls) -> None:
        self._source = source
        self._calls = calls
        self._reach = KeystoreReach(calls, _OPERATION)

    @property
    def is_out(self) -> bool:
        """Whether the keystore has given no answer lately. See `KeystoreReach.is_out`."""
        return self._reach.is_out

    def read(self, namespace: str, shared: Shared, current: Record | None) -> Seen:
        """Read the slot, and the row that it names unless that is the row of ``current``.

        Raises:
            StoreUnavailable, StoreRefused: as the keystore raised it.
        """
        own = row_key(current) if current is not None else None

        def ask() -> tuple[str | None, bytes | None, bytes | None]:
            slot = self._source.get(shared.slot_key, _SECONDS)
            named = parse_slot(slot.data) if slot is not None else None
            kept = self._source.get(named, _SECONDS) if named is not None and named != own else None
            return slot.revision if slot is not None else None, named, kept.data if kept is not None else None

        revision, named, data = self._reach.call(namespace, ask)
        row = self._parsed(namespace, named, data) if named is not None and data is not None else None
        return Seen(row, revision)

    def write(self, namespace: str, shared: Shared, named: bytes, revision: str | None) -> bool:
        """Have the slot name the row of key ``named``, if it still has this revision. Return whether it did.

        Raises:
            StoreUnavailable, StoreRefused: as the keystore raised it.
        """

        def ask() -> bool:
            with suppress(RowConflict):
                self._source.put(shared.slot_key, make_slot(named), revision, _SECONDS)
                return True
            return False

        return self._reach.call(namespace, ask)

    def find_row(self, namespace: str, key: bytes) -> KeystoreRow | None:
        """Return the row of this key; None if there is none, or none that is valid. Raises as `read` does."""
        kept = self._reach.call(namespace, lambda: self._source.get(key, _SECONDS))
        return self._parsed(namespace, key, kept.data) if kept is not None else None

    def tell(self, namespace: str, outcome: str, reason: str) -> None:
        """Report why a wrapping key is not shared."""
        report(self._calls.observer, Event(_OPERATION, outcome, namespace, reason=reason))

    def _parsed(self, namespace: str, key: bytes, data: bytes) -> KeystoreRow | None:
        """Return the row that ``data`` is, if it is one. Whoever can write to the keystore may have left anything."""
        try:
            return parse_row(key, data)
        except MalformedRow as error:
            reason = error.reason
        self.tell(namespace, MalformedRow.__name__, reason)
        return None
