"""The fields of a serialized Payload, looked at before protobuf parses it.

A field of two bytes becomes an object of a hundred, and protobuf holds the interpreter's lock until it has made the
last of them. Compressed, millions of fields take some kilobytes. So SPEC.md, "Compressed inner Payload", bounds them.
"""

from __future__ import annotations

MOST_FIELDS = 1_024
MOST_BESIDE_DATA = 2**16
"""Bytes of a serialized Payload beside the values of its fields `data`."""

_DATA = 2 << 3 | 2  # the tag of `data`: number 2, wire type 2
_VARINT, _FIXED_64, _SIZED, _GROUP_BEGIN, _GROUP_END, _FIXED_32 = range(6)
_LONGEST_VARINT = 10  # bytes


def find_excess(content: bytes) -> str | None:
    """Return what makes ``content`` a Payload that no reader takes out of compression. None if nothing does.

    It looks at `MOST_FIELDS` fields at most. It knows no nesting: the begin and the end of a group are fields, and so
    are those between. It leaves to protobuf what else may be wrong.

    Args:
        content: a serialized Payload; anyone's, so perhaps none.
    """
    if len(content) <= MOST_FIELDS:  # a field has a byte at least
        return None
    at = fields = data = 0
    try:
        while at < len(content):
            if fields == MOST_FIELDS:
                return "has too many fields"
            fields += 1
            tag, at = _read_varint(content, at)
            kind = tag & 7
            if kind == _SIZED:
                length, at = _read_varint(content, at)
                at += length
                if tag == _DATA:
                    data += length
            else:
                at = _skip(content, at, kind)
    except (IndexError, ValueError):
        at = -1
    if at != len(content):
        return "is not a payload"
    return "has too much beside its data" if len(content) - data > MOST_BESIDE_DATA else None


def _skip(content: bytes, at: int, kind: int) -> int:
    """Return where the value of a field ends whose length is not said. Of a group, that is where its fields begin."""
    if kind == _VARINT:
        return _read_varint(content, at)[1]
    if kind in (_GROUP_BEGIN, _GROUP_END):
        return at
    if kind in (_FIXED_32, _FIXED_64):
        return at + (4 if kind == _FIXED_32 else 8)
    raise ValueError("there is no such wire type")


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the varint at ``at``, and where it ends.

    Raises:
        IndexError: it is cut.
        ValueError: it is too long.
    """
    value = content[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for place in range(1, _LONGEST_VARINT):
        byte = content[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("the varint does not end")
