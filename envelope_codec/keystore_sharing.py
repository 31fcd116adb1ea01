"""Sharing: which wrapping keys of a keystore others may seal with, and where the newest of them is named.

Bytes only: no I/O, no clock. ``SPEC.md`` has the rules, under "Sharing".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from hashlib import sha256
from hmac import compare_digest

from envelope_codec._wire import sized
from envelope_codec.envelope import NAMESPACE, Purpose, record_head
from envelope_codec.keystore_row import KeystoreRow, make_tag

_SLOT_LABEL = b"envelope-codec/1 slot\0"
_SLOT_START = b"\x00\x01"  # no version of a row is 0
_SLOT_LENGTH = 34
_CONTEXT_AT = 10  # a head has version, purpose and creation before its context
_YOUNG_SHARE = 0.9  # of max_age

MOST_AHEAD = 60
"""Seconds by which the clock of another writer may be ahead."""


class Obstacle(str, Enum):
    """A rule by which nobody seals with the wrapping key of a row."""

    PURPOSE = "purpose"
    AUTH = "auth"
    CONTEXT = "context"
    RECIPIENTS = "recipients"
    TOO_OLD = "too-old"
    FUTURE = "future"
    TAG = "tag"


class Shared:
    """What a scope shares its wrapping keys by: the bytes of its context, and the key ids that seal there.

    Args:
        namespace: the Temporal namespace that seals.
        context: further names and values that are bound.
        key_ids: of all master keys that seal.

    Attributes:
        slot_key: the 32 bytes under which a keystore keeps the slot of this scope.
    """

    def __init__(self, namespace: str, context: Mapping[str, str], key_ids: Iterable[str]) -> None:
        self._context = _head(namespace, context)[_CONTEXT_AT:]
        self._key_ids = frozenset(key_ids)
        names = b"".join(sized(name) for name in sorted(key_id.encode() for key_id in self._key_ids))
        self.slot_key = sha256(_SLOT_LABEL + sized(self._context) + names).digest()

    def find_obstacle(
        self, row: KeystoreRow, auth_keys: Iterable[bytes], now: float, max_age: float
    ) -> Obstacle | None:
        """Return why nobody of this scope may seal with the wrapping key of ``row``; None if they may.

        Whoever adopts it must unwrap it as well, and see that it leads to the id.

        Args:
            row: as it was read.
            auth_keys: keys of the authentication records that are pinned.
            now: Unix seconds.
            max_age: seconds for which a wrapping key seals.
        """
        obstacle = self._find_plain_obstacle(row)
        if obstacle is not None:
            return obstacle
        if row.created <= now - _YOUNG_SHARE * max_age:
            return Obstacle.TOO_OLD
        if row.created > now + MOST_AHEAD:
            return Obstacle.FUTURE
        tagged = any(compare_digest(make_tag(row, key), row.tag) for key in auth_keys)
        return None if tagged else Obstacle.TAG

    def fits(self, row: KeystoreRow) -> bool:
        """Say whether exactly the master keys of this scope have verified recipients in ``row``."""
        return frozenset(recipient.key_id for recipient in row.verified) == self._key_ids

    def _find_plain_obstacle(self, row: KeystoreRow) -> Obstacle | None:
        if row.purpose is not Purpose.SHARED_WRAPPING_KEY:
            return Obstacle.PURPOSE
        if row.created == 0:
            return Obstacle.AUTH
        if row.head[_CONTEXT_AT:] != self._context:
            return Obstacle.CONTEXT
        return None if self.fits(row) else Obstacle.RECIPIENTS


def auth_head(namespace: str, context: Mapping[str, str]) -> bytes:
    """Return the head of an authentication record: a shared wrapping key that was made in the second 0."""
    return _head(namespace, context)


def auth_row_key(head: bytes, record_id: bytes) -> bytes:
    """Return the 32 bytes under which a keystore keeps an authentication record."""
    return sha256(head + record_id).digest()


def make_slot(row_key: bytes) -> bytes:
    """Return the bytes of a slot that names the row of this key."""
    return _SLOT_START + row_key


def parse_slot(data: bytes) -> bytes | None:
    """Return the key of the row that a slot names. None: ``data`` is no slot."""
    return data[2:] if is_slot(data) else None


def is_slot(data: bytes) -> bool:
    """Say whether ``data``, from a keystore, has the form of a slot. No row has."""
    return len(data) == _SLOT_LENGTH and data.startswith(_SLOT_START)


def _head(namespace: str, context: Mapping[str, str]) -> bytes:
    return record_head(Purpose.SHARED_WRAPPING_KEY, 0, {**context, NAMESPACE: namespace})
