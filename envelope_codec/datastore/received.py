"""Bytes that a server sends, up to a limit."""

from __future__ import annotations

from envelope_codec.store import too_large


class Received:
    """Collects what a server sends, a piece at a time. It may be used as a file that is written to.

    Args:
        limit: how many bytes there may be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> int:
        """Add ``piece``.

        Raises:
            TooLarge: there are more than that.
        """
        self._size += len(piece)
        self.expect(self._size)
        self._pieces.append(bytes(piece))
        return len(piece)

    def expect(self, size: int) -> None:
        """Raise `TooLarge` if ``size`` bytes are more than there may be."""
        if size > self._limit:
            raise too_large()

    def take(self) -> bytes:
        """Return all of it, once."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
