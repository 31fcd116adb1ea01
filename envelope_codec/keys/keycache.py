"""What is kept for opening, bounded in number and in time: unwrapped keys, and refusals of records."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from envelope_codec.envelope import Purpose, Record
from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.lease import Lease

_AT_ONCE = 64  # of those that have expired, so that no caller pays for all that expired in a quiet hour
_SPELLINGS = 64  # of one record: whoever can write to Temporal can make any number of them


class OpeningKey:
    """The key of one record.

    Attributes:
        head: of its record; with the id it is all that the key was proved to belong to.
        key: a wrapping key, or in direct mode a data key.
        leases: of the recipients that opened this very record: a record's list of them is not authenticated.
        expires: monotonic seconds after which it is not used.
        serving: the lease under which it was found live last.
    """

    __slots__ = ("_mark", "_spellings", "expires", "head", "key", "leases", "serving", "strict")

    def __init__(self, record: Record, key: bytes, leases: tuple[Lease, ...], expires: float) -> None:
        self.head = record.head
        self.key = key
        self.leases = leases
        self.expires = expires
        self._mark = object()
        self._spellings: set[bytes] = set()
        self.serving: Lease | None = None
        self.strict = record.purpose is Purpose.DATA_KEY  # direct mode knows no grace

    def live(self, monotonic: float, time: float) -> bool:
        """Whether it may be used at these two times."""
        for lease in self.leases:
            if lease.live(monotonic, time, strict=self.strict):
                self.serving = lease
                return monotonic < self.expires
        return False

    def allow(self, record: Record, digest: bytes) -> None:
        """Remember that of this spelling of its record, which has this digest, a recipient is configured."""
        if len(self._spellings) >= _SPELLINGS:
            self._spellings.clear()
        self._spellings.add(digest)
        self._leave_mark(record)

    def allows(self, record: Record) -> bool:
        """Whether ``record`` is its own, in a spelling of which a recipient is known to be configured."""
        if record.allowed is self._mark:
            return True
        if record.head != self.head or spelling(record) not in self._spellings:
            return False
        self._leave_mark(record)
        return True

    def follow(self, known: OpeningKey) -> None:
        """Take the place of ``known``, which is of the same record."""
        self._mark, self._spellings = known._mark, known._spellings

    def _leave_mark(self, record: Record) -> None:
        object.__setattr__(record, "allowed", self._mark)  # the next payload costs one comparison


def spelling(record: Record) -> bytes:
    """A digest of the record with all its recipients."""
    return sha256(record.header_tail).digest()


class KeyCache:
    """`OpeningKey` by record id. The least recently used make room; those that have expired count as not there.

    The keyring's lock guards every change but `discard`.

    Args:
        size: how many are kept.
        now: monotonic seconds.
    """

    def __init__(self, size: int, now: Callable[[], float]) -> None:
        self.maxsize = size
        self._now = now
        self._kept: OrderedDict[bytes, OpeningKey] = OrderedDict()
        self._ages: dict[bytes, float] = {}  # oldest first, as all are kept for the same time

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, record_id: bytes) -> OpeningKey:
        found = self.get(record_id)
        if found is None:
            raise KeyError(record_id)
        return found

    def __setitem__(self, record_id: bytes, entry: OpeningKey) -> None:
        self.discard(record_id)
        self._kept[record_id] = entry
        self._ages[record_id] = entry.expires
        for lease in entry.leases:
            lease.records.add(record_id)
        self._make_room()

    def get(self, record_id: bytes) -> OpeningKey | None:
        """The key of this record; it is the most recently used one then."""
        entry = self.peek(record_id)
        if entry is not None and self._now() < entry.expires:
            with suppress(KeyError):  # it is being wiped
                self._kept.move_to_end(record_id)
            return entry
        return None

    def peek(self, record_id: bytes) -> OpeningKey | None:
        """The key of this record, expired or not."""
        return self._kept.get(record_id)

    def values(self) -> list[OpeningKey]:
        """All that have not expired."""
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


class RefusalCache:
    """Why records could not be opened, by their digests, each for the same time. The oldest make room.

    The keyring's lock guards every use.

    Args:
        size: how many are kept.
        ttl: seconds for which each counts.
        now: monotonic seconds.
    """

    def __init__(self, size: int, ttl: float, now: Callable[[], float]) -> None:
        self._size = size
        self._ttl = ttl
        self._now = now
        self._kept: dict[bytes, tuple[EnvelopeError, float]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._kept)

    def __setitem__(self, digest: bytes, refusal: EnvelopeError) -> None:
        now = self._now()
        self._kept.pop(digest, None)
        self._kept[digest] = refusal, now + self._ttl
        with suppress(StopIteration):  # nothing is left
            for _ in range(_AT_ONCE):
                oldest = next(iter(self._kept))
                if now < self._kept[oldest][1] and len(self._kept) <= self._size:
                    break
                del self._kept[oldest]

    def get(self, digest: bytes) -> EnvelopeError | None:
        """Why the record of this digest was refused, if that still counts."""
        refusal, until = self._kept.get(digest, (None, 0.0))
        return refusal if refusal is not None and self._now() < until else None
