"""What a search of a datastore found."""

from __future__ import annotations

from dataclasses import dataclass, field

from envelope_codec.store import Stored

_GB = 2**30  # bytes, as Amazon bills them: https://aws.amazon.com/s3/faqs/


@dataclass
class SearchResult:
    """What a search of a datastore found.

    Attributes:
        listed: how many payloads are old enough.
        referenced: how many of these something refers to.
        read: how many workflows, schedules, standalone activities and operations were read, now or by an earlier run.
        orphans: the payloads that nothing refers to, and that were sealed for a namespace that was read; oldest first.
        foreign: how many more nothing refers to, that were sealed for other namespaces. They are left.
        unknown: how many more nothing refers to, that are no envelopes. They are left.
        deleted: how many of the orphans were deleted.
    """

    listed: int = 0
    referenced: int = 0
    read: int = 0
    orphans: list[Stored] = field(default_factory=list)
    foreign: int = 0
    unknown: int = 0
    deleted: int = 0

    @property
    def bytes(self) -> int:
        """How large the orphans are together."""
        return sum(stored.size for stored in self.orphans)

    def cost(self, price: float) -> float:
        """Return what the orphans cost in a month, where each GB costs ``price``. A GB is 2**30 bytes."""
        return self.bytes / _GB * price
