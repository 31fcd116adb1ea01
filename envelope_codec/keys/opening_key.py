"""A key for opening: the unwrapped key of one record."""

from __future__ import annotations

from hashlib import sha256

from envelope_codec.envelope import Purpose, Record
from envelope_codec.keys.lease import Lease

_SPELLINGS = 64  # of one record: whoever can write to Temporal can make any number of them


class OpeningKey:
    """The key of one record.

    Attributes:
        head: the head of its record. Head and id are all that the key was proved to belong to.
        key: a wrapping key, or in direct mode a data key.
        leases: of the recipients that opened this very record. A record's list of recipients is not authenticated.
        expires: monotonic seconds after which it is not used.
        serving: the lease under which it was used last; None if it has not been used.
        strict: whether it is of direct mode, which knows no grace.
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
        self.strict = record.purpose is Purpose.DATA_KEY

    def live_lease(self, monotonic: float, time: float) -> Lease | None:
        """Return a lease under which it may be used at this moment."""
        if monotonic < self.expires:
            for lease in self.leases:
                if lease.live(monotonic, time, strict=self.strict):
                    return lease
        return None

    def is_denied(self) -> bool:
        """Say whether all of its leases were denied."""
        return all(lease.ended for lease in self.leases)

    def allow(self, record: Record, digest: bytes) -> None:
        """Remember that a recipient of this spelling of its record is configured.

        Args:
            record: in this spelling.
            digest: of the spelling.
        """
        if len(self._spellings) >= _SPELLINGS:
            self._spellings.clear()
        self._spellings.add(digest)
        self._leave_mark(record)

    def allows(self, record: Record) -> bool:
        """Say whether ``record`` is its own, in a spelling of which a recipient is known to be configured."""
        if record.allowed is self._mark:
            return True
        if record.head != self.head or digest_of(record) not in self._spellings:
            return False
        self._leave_mark(record)
        return True

    def follow(self, known: OpeningKey) -> None:
        """Allow the spellings that ``known`` allows, which is a key of the same record."""
        self._mark, self._spellings = known._mark, known._spellings

    def _leave_mark(self, record: Record) -> None:
        object.__setattr__(record, "allowed", self._mark)  # the next payload costs one comparison


def digest_of(record: Record) -> bytes:
    """Return a digest of the record with all its recipients."""
    return sha256(record.header_tail).digest()
