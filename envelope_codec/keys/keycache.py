"""The cache of keys for opening, bounded in number and in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from envelope_codec.keys.lease import Lease


class Kept(Protocol):
    """What a cache of keys keeps.

    Attributes:
        leases: that it is used under, and that know of it.
        expires: monotonic seconds after which it is not used.
    """

    @property
    def leases(self) -> Collection[Lease]: ...

    @property
    def expires(self) -> float: ...


K = TypeVar("K", bound=Kept)

_AT_ONCE = 64  # of those that have expired, so that no caller pays for all that expired in a quiet hour


class KeyCache(Generic[K]):
    """Opening keys by record id. The least recently used ones make room; those that have expired count as absent.

    The keyring's lock guards every change except `discard`.

    Args:
        size: how many are kept.
        now: monotonic seconds.
    """

    def __init__(self, size: int, now: Callable[[], float]) -> None:
        self.maxsize = size
        self._now = now
        self._kept: OrderedDict[bytes, K] = OrderedDict()
        self._ages: dict[bytes, float] = {}  # oldest first, as all are kept for the same time

    def __len__(self) -> int:
        return len(self._kept)

    def __setitem__(self, record_id: bytes, entry: K) -> None:
        self.discard(record_id)
        self._kept[record_id] = entry
        self._ages[record_id] = entry.expires
        for lease in entry.leases:
            lease.records.add(record_id)
        self._make_room()

    def get(self, record_id: bytes) -> K | None:
        """Return the key of this record, which becomes the most recently used one."""
        entry = self.peek(record_id)
        if entry is not None and self._now() < entry.expires:
            with suppress(KeyError):  # it is being wiped
                self._kept.move_to_end(record_id)
            return entry
        return None

    def peek(self, record_id: bytes) -> K | None:
        """Return the key of this record, expired or not."""
        return self._kept.get(record_id)

    def values(self) -> list[K]:
        """List the keys that have not expired."""
        now = self._now()
        return [entry for entry in self._kept.values() if now < entry.expires]

    def discard(self, record_id: bytes) -> None:
        """Forget a key. Each step is atomic, so that this needs no lock."""
        entry = self._kept.pop(record_id, None)
        self._ages.pop(record_id, None)
        if entry is not None:
            for lease in entry.leases:
                lease.records.discard(record_id)

    def clear(self) -> None:
        """Forget every key."""
        self._kept.clear()
        self._ages.clear()

    def _make_room(self) -> None:
        now = self._now()
        with suppress(StopIteration, RuntimeError):  # nothing is left, or it is just being wiped
            for _ in range(_AT_ONCE):
                oldest, expires = next(iter(self._ages.items()))
                if now < expires:
                    break
                self.discard(oldest)
            while len(self._kept) > self.maxsize:
                self.discard(next(iter(self._kept)))
