"""Keystores: where records of wrapping keys are kept, so that recipients can be added to them later.

A keystore never sees an unwrapped key.
"""

from __future__ import annotations

from typing import NamedTuple


class Kept(NamedTuple):
    """What a keystore has under a key.

    Attributes:
        key: 32 bytes.
        data: a row.
        revision: of the row; opaque, and never the same for other data of this key.
    """

    key: bytes
    data: bytes
    revision: str


class RowConflict(Exception):
    """What is there has another revision than the row that was to be replaced."""
