"""The fields that the wire format is made of: bytes, lengths and texts."""

from __future__ import annotations

from envelope_codec.errors import MalformedEnvelope


class Reader:
    """A byte string that is read from its start, never past its end.

    Args:
        data: what is read.
        what: what it is, for the text of the error.
    """

    def __init__(self, data: bytes, what: str = "record") -> None:
        self._data = data
        self._what = what
        self.position = 0

    @property
    def at_end(self) -> bool:
        """Whether all of it has been read."""
        return self.position == len(self._data)

    def take(self, length: int) -> bytes:
        """Return the next ``length`` bytes."""
        end = self.position + length
        if end > len(self._data):
            raise self._too_short()
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def byte(self) -> int:
        """Return the next byte, as a number."""
        if self.position >= len(self._data):
            raise self._too_short()
        self.position += 1
        return self._data[self.position - 1]

    def item(self) -> bytes:
        """Return what has its u16 length before it."""
        start = self.position + 2
        end = start + int.from_bytes(self._data[start - 2 : start], "big")  # beyond the end if the length is cut off
        if end > len(self._data):
            raise self._too_short()
        self.position = end
        return self._data[start:end]

    def _too_short(self) -> MalformedEnvelope:
        return MalformedEnvelope(f"the {self._what} ends too early")


def sized(item: bytes) -> bytes:
    """Return ``item`` with its u16 length before it."""
    return len(item).to_bytes(2, "big") + item


def text(data: bytes) -> str:
    """Return ``data`` as text.

    Raises:
        MalformedEnvelope: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedEnvelope("a text in the record is not valid UTF-8") from None
