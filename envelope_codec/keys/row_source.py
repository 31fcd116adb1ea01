"""Where the keyring's threads read and write rows of a keystore."""

from __future__ import annotations

from typing import Protocol

from envelope_codec.keystore import Kept


class RowSource(Protocol):
    """A keystore as threads use it. Its calls block, and may be made from any thread, in a forked child too.

    A call that has got no answer after ``timeout`` seconds raises `StoreUnavailable`. One that the keystore refuses
    raises `StoreRefused`. No call retries.
    """

    def get(self, key: bytes, timeout: float) -> Kept | None:
        """Return what is kept under ``key``, or None if there is nothing."""
        ...

    def put(self, key: bytes, data: bytes, revision: str | None, timeout: float) -> str:
        """Keep ``data`` under ``key``, durably when this returns. Return the new revision.

        Args:
            key: 32 bytes.
            data: a row.
            revision: of the row that is replaced; None where there is none.
            timeout: seconds for an answer.

        Raises:
            RowConflict: what is there has another revision.
        """
        ...

    def close(self) -> None:
        """Release connections. Does not wait. May be called twice."""
        ...
