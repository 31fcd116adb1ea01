"""Bytes that a server sends, up to a limit."""

from __future__ import annotations

import pytest

from envelope_codec.datastore.received import Received
from envelope_codec.store import TooLarge


def test_pieces_come_together_once() -> None:
    received = Received(6)
    assert [received.write(piece) for piece in (b"ab", b"", b"cdef")] == [2, 0, 4]
    assert received.take() == b"abcdef"
    assert received.take() == b""
    assert Received(0).take() == b""


def test_no_byte_more_than_the_limit_is_kept() -> None:
    received = Received(3)
    received.write(b"abc")
    with pytest.raises(TooLarge, match="other bytes than were stored"):
        received.write(b"d")
    assert received.take() == b"abc"
    with pytest.raises(TooLarge):
        received.expect(4)
