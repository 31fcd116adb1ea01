"""Bytes that a server sends, up to a limit."""

from __future__ import annotations

from envelope_codec.errors import InvalidCiphertext


class Received:
    """Collects what a server sends, a piece at a time. It may be used as a file that is written to.

    Args:
        limit: how many bytes there may be; None is no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> int:
        """Add ``piece``.

        Raises:
            InvalidCiphertext: there is more than was stored.
        """
        self._size += len(piece)
        self.expect(self._size)
        self._pieces.append(bytes(piece))
        return len(piece)

    def expect(self, size: int) -> None:
        """Raise `InvalidCiphertext` if ``size`` bytes are more than were stored."""
        if self._limit is not None and size > self._limit:
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")

    def take(self) -> bytes:
        """Return all of it, once."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
