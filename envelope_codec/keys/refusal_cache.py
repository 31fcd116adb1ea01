"""Refusals of records, bounded in number and in time."""

from __future__ import annotations

from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.brief_cache import BriefCache


class RefusalCache(BriefCache[EnvelopeError]):
    """Why records could not be opened, by their digests."""

    def check(self, digest: bytes) -> None:
        """Raise a copy of the error that the record of this digest was refused with, if that still counts."""
        refusal = self.get(digest)
        if refusal is not None:
            raise refusal.fresh()
