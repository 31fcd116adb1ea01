"""The inner payload: the bytes that an envelope holds, and the payload that they are, compressed or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError, InvalidCiphertext
from envelope_codec.temporal import zstd_frame
from envelope_codec.temporal.payload_fields import MOST_FIELDS, find_excess

COMPRESSED = b"binary/zstd-payload-v1"
"""The encoding of an inner payload that holds another one, compressed."""

PADDING = "encryption-padding"
"""The name of metadata that a writer may hide lengths with, and that no reader hands on."""

_ENCODING = "encoding"

# How many bytes the cipher does while zstd does one: measured with JSON documents.
_COMPRESSING = 10
_DECOMPRESSING = 4
_WORTH_A_LOOK = 2**14  # bytes; what a smaller payload takes does not matter

# How many bytes it does while `find_excess` looks at a field that protobuf wrote, and at a byte of anyone's fields.
_FIELD = 2**10
_FIELD_BYTE = 2**10
_MANY_FIELDS = 3  # a byte of many fields takes 20 in memory, and where memory is budgeted, a byte counts as seven
_MOST_LOOKED_AT = 15 * MOST_FIELDS  # bytes: the longest tag that protobuf reads, and the longest varint


@dataclass(frozen=True)
class InnerFormat:
    """How payloads are written into envelopes and read from them. Threads may share it.

    Attributes:
        compresses: whether payloads are compressed where that pays.
        min_size: bytes; smaller payloads are not compressed.
        max_payload: bytes; no larger payload is compressed, or taken out of compression.
        take: called with the size of compressed content before it is decompressed, and with what the fields of other
            content take in memory, where they are many, before it is parsed. It raises to refuse.
    """

    compresses: bool = False
    min_size: int = 0
    max_payload: int = 2**26
    take: zstd_frame.Take | None = None

    @classmethod
    def of(cls, config: EnvelopeConfig) -> InnerFormat:
        """Return the format that ``config`` asks for.

        Raises:
            ConfigurationError: it asks for compression, which this Python does not have.
        """
        compresses = config.compression == "zstd"
        if compresses:
            zstd_frame.load_zstd()
        return cls(compresses, config.compression_min_size, config.max_payload)

    def serialize(self, payload: Payload, content: bytes | None = None) -> bytes:
        """Return the bytes that are to be sealed. ``content`` is ``payload`` in bytes, where the caller has them.

        A payload that has the encoding of compressed ones itself is always compressed: so `unpack` is the inverse.

        Raises:
            EnvelopeError: no reader would take such a payload out of compression.
        """
        content = payload.SerializeToString() if content is None else content
        if payload.metadata.get(_ENCODING) == COMPRESSED:
            excess = self._find_excess(content)
            if excess is not None:
                raise EnvelopeError(f"a payload of the encoding of compressed ones {excess}", operation="seal")
            return _join(zstd_frame.compress(content))
        if self.compresses and self.min_size <= len(content) and self._find_excess(content) is None:
            most = 19 * len(content) // 20
            pieces = zstd_frame.compress_within(content, most - len(_head(most)))
            if pieces is not None:
                del content  # or a large one would be in memory while the pieces are joined
                return _join(pieces)
        return content

    def sealing_work(self, payload: Payload, size: int) -> int:
        """Return how long it takes to seal ``payload`` of ``size`` bytes: in bytes that the cipher does meanwhile."""
        compresses = self.compresses and self.min_size <= size <= self.max_payload
        if not compresses and (size < _WORTH_A_LOOK or payload.metadata.get(_ENCODING) != COMPRESSED):
            return size
        fields = 0 if size <= MOST_FIELDS else len(payload.metadata) + len(payload.external_payloads)
        return (size if size < _WORTH_A_LOOK else _COMPRESSING * size) + _FIELD * min(fields, MOST_FIELDS)

    def parse(self, content: bytes) -> Payload:
        """Return the payload that ``content`` is, compressed or not.

        Raises:
            InvalidCiphertext: it is none.
        """
        if self.take is not None and find_excess(content) is not None:
            self.take(_MANY_FIELDS * len(content))
        return parse_payload(content)

    def unpack(self, payload: Payload) -> Payload:
        """Return ``payload``, or the one that is compressed in it. It is emptied then.

        Raises:
            InvalidCiphertext: it is compressed in a way that no reader accepts.
        """
        if payload.metadata.get(_ENCODING) != COMPRESSED:
            return payload
        content = zstd_frame.decompress(_compressed_data(payload), self.max_payload, self.take)
        excess = find_excess(content)
        if excess is not None:
            raise InvalidCiphertext(f"what was sealed is compressed, and {excess}", operation="open")
        return parse_payload(content)

    def _find_excess(self, content: bytes) -> str | None:
        """Return why no reader would take ``content`` out of compression. None if one would."""
        return "exceeds max_payload" if len(content) > self.max_payload else find_excess(content)


def parse_payload(data: bytes) -> Payload:
    """Return the payload that ``data`` is, compressed or not.

    Raises:
        InvalidCiphertext: it is none.
    """
    try:
        return Payload.FromString(data)
    except (DecodeError, UnicodeDecodeError):  # the latter is what protobuf's implementation in Python raises
        raise InvalidCiphertext("what was sealed is not a payload", operation="open") from None


def foresee_unpacking(payload: Payload) -> tuple[int, int]:
    """Return how many bytes ``payload`` yields if it is compressed, and how long it takes at most to `unpack` it.

    The latter is in bytes that the cipher does meanwhile. It is without `scanning_work`.
    """
    if payload.metadata.get(_ENCODING) != COMPRESSED:
        return 0, 0
    data = payload.data  # it may have many blocks, and yield little
    size = zstd_frame.claimed_size(data)
    return size, _DECOMPRESSING * (size + len(data))


def scanning_work(size: int, payload: Payload) -> int:
    """Return how long it took at most to look at the fields of ``payload``: in bytes that the cipher does meanwhile.

    Args:
        size: bytes that were decompressed.
        payload: what they are.
    """
    if size <= MOST_FIELDS:  # nobody has looked
        return 0
    return _FIELD_BYTE * min(size - len(payload.data), _MOST_LOOKED_AT)


_METADATA = Payload(metadata={_ENCODING: COMPRESSED}).SerializeToString()
_DATA = b"\x12"  # the tag of the field `data`


def _head(length: int) -> bytes:
    """Return a compressed payload in bytes, up to its data of ``length`` bytes."""
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return b"".join((_METADATA, _DATA, varint, bytes((length,))))


def _join(pieces: Sequence[bytes | memoryview]) -> bytes:
    """Return a compressed payload in bytes. protobuf would copy the data twice."""
    return b"".join((_head(sum(map(len, pieces))), *pieces))


def _compressed_data(payload: Payload) -> bytes:
    """Return the data of a compressed payload. It is emptied."""
    if set(payload.metadata) - {_ENCODING, PADDING}:
        raise InvalidCiphertext("what was sealed is compressed, and has other metadata", operation="open")
    data = payload.data
    payload.ClearField("metadata")
    payload.ClearField("data")
    if payload.ByteSize():
        raise InvalidCiphertext("what was sealed is compressed, and has other fields", operation="open")
    return data
