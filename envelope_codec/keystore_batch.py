"""Many rows of a keystore in one call, for commands that work on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from envelope_codec.keystore import Kept

MAX_BATCH = 64
"""How many rows one call has at most."""


@runtime_checkable
class Batches(Protocol):
    """What a `Keystore` may have besides: its calls for several rows at once.

    They do for each row what the call for one row does, and raise its errors. After an error nobody knows which of the
    rows were written: the caller asks again, row by row.
    """

    async def get_each(self, keys: Sequence[bytes]) -> list[Kept | None]:
        """Return what is kept under each of ``keys``, in their order. All are different, `MAX_BATCH` at most."""
        ...

    async def replace_each(self, changes: Sequence[Kept]) -> list[str | None]:
        """Replace each row that still has the revision named, by the data given.

        Args:
            changes: the key of each row, its new data, and the revision that must be there. All keys are different,
                `MAX_BATCH` at most.

        Returns:
            The new revisions, in their order; None for a row that had another one, and was left as it is.
        """
        ...
