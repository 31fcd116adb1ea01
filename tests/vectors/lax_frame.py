"""A writer of zstd frames (RFC 8878) that compresses nothing and obeys no rule: raw blocks, runs, any header."""

from __future__ import annotations

from tests.vectors.lax_writer import payload

MAGIC = b"\x28\xb5\x2f\xfd"
WINDOW = b"\x38"  # 128 KiB
ENCODING = b"binary/zstd-payload-v1"


def frame(*blocks: bytes, header: bytes = b"\x00" + WINDOW) -> bytes:
    """A frame; its header without content size, unless another is given."""
    return MAGIC + header + b"".join(blocks)


def raw(content: bytes, *, last: bool = True, kind: int = 0) -> bytes:
    """A block that holds ``content`` as it is."""
    return (len(content) << 3 | kind << 1 | last).to_bytes(3, "little") + content


def run(byte: bytes, count: int, *, last: bool = True) -> bytes:
    """A block of one byte, repeated."""
    return (count << 3 | 1 << 1 | last).to_bytes(3, "little") + byte


def sized(size: int, written: bytes) -> bytes:
    """The data of a compressed Payload."""
    return size.to_bytes(4, "big") + written


def compressed(data: bytes, more: dict[str, bytes] | None = None) -> bytes:
    """A compressed Payload, serialized."""
    return payload({"encoding": ENCODING, **(more or {})}, data)
