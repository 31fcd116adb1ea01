"""The keys of authentication records, which make and check the tags of rows that are shared."""

from __future__ import annotations

from collections.abc import Callable, Collection

from envelope_codec.envelope import Record, build_record
from envelope_codec.errors import EnvelopeError, KmsUnavailable, MalformedEnvelope
from envelope_codec.keys.active_slot import ActiveSlot
from envelope_codec.keys.keyset import KeySet, pick_decisive
from envelope_codec.keystore_sharing import auth_head, auth_row_key

_REMEMBERED = 1_024  # records


class AuthKeys:
    """Finds the authentication records of a namespace, and opens them like records of any envelope.

    Args:
        slots: reads rows.
        ids: of the records that count.
        key_sets: namespace to its usual master keys for sealing, or None: a record binds their context.
        opens: returns the key of a record, which it unwraps if it is not at hand. Raises `EnvelopeError`.
    """

    def __init__(
        self,
        slots: ActiveSlot,
        ids: Collection[bytes],
        key_sets: Callable[[str], KeySet | None],
        opens: Callable[[Record], bytes],
    ) -> None:
        self._slots = slots
        self._ids = tuple(ids)
        self._key_sets = key_sets
        self._opens = opens
        self._records: dict[tuple[bytes, bytes], Record] = {}  # by head and id

    def find(self, namespace: str) -> list[bytes]:
        """Return the keys of those records that open, in the order of their ids. Empty if the keystore has none.

        Raises:
            StoreUnavailable, StoreRefused: the keystore gave no answer or refused.
            EnvelopeError: none opens; the error that decides.
        """
        key_set = self._key_sets(namespace)
        head = auth_head(namespace, key_set.context if key_set is not None else {})
        keys, errors = list[bytes](), list[EnvelopeError]()
        for record_id in self._ids:
            record = self._record(namespace, head, record_id)
            try:
                if record is not None:
                    keys.append(self._opens(record))
            except EnvelopeError as error:
                errors.append(error.fresh())
                if not isinstance(error, KmsUnavailable):  # the row may be mended: it is read again
                    self._records.pop((head, record_id), None)
        if errors and not keys:
            raise pick_decisive(errors, "open")
        return keys

    def _record(self, namespace: str, head: bytes, record_id: bytes) -> Record | None:
        """Return the record as the keystore has it. Where its recipients do not serve, opening looks for others."""
        known = self._records.get((head, record_id))
        if known is not None:
            return known
        row = self._slots.find_row(namespace, auth_row_key(head, record_id))
        if row is None:
            return None
        try:
            record = build_record(row.head, row.id, row.verified or row.imported[:1])
        except MalformedEnvelope:  # a row may have more than fits into a record
            return None
        if len(self._records) >= _REMEMBERED:
            self._records.clear()  # in one step, since other threads do the same
        self._records[head, record_id] = record
        return record
