"""One zstd frame with the size of its content before it: ``u32 size ‖ frame``. Written, and read with distrust.

zstd (RFC 8878) yields up to 32,000 bytes for one. So a reader looks at what the bytes claim before it decompresses any
of them. SPEC.md, "Compressed inner Payload", has the rules. All functions are pure, and threads may share them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

from envelope_codec.errors import ConfigurationError, InvalidCiphertext

if TYPE_CHECKING:
    from backports.zstd import ZstdCompressor

Take = Callable[[int], object]
"""Called with the size of a frame's content before it is decompressed. It raises to refuse."""

SIZE_BYTES = 4
LARGEST_SIZE = 2**32 - 1

_LEVEL = 1
_STEP = 2**20  # bytes that come out of a decompressor at once, or go in
_COMPRESSED_STEP = 2**22  # bytes that are compressed at once
_FREE = 2**16  # bytes that a frame of any length may yield
_RATIO = 256  # bytes that it may yield beyond that, for each of its own
_WINDOW_LOG = 23
_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY, _RESERVED, _SINGLE_SEGMENT = 0b11, 0b1000, 0b10_0000  # bits of a frame's descriptor
_BLOCK = 2**17  # bytes; the most that a block may yield


def compress(content: bytes) -> Sequence[bytes | memoryview]:
    """Return ``content``, which has fewer than 2**32 bytes, in a frame of level 1, in pieces.

    Where a reader would refuse so high a ratio, the content stands in the frame as it is.
    """
    return compress_within(content, LARGEST_SIZE) or store(content)


def compress_within(content: bytes, most: int) -> list[bytes] | None:
    """Return what `compress` does, in pieces. None if that has more than ``most`` bytes, or stores the content.

    It stops as soon as that is clear: a large payload that does not shrink is not in memory once more.
    """
    size = len(content)
    pieces = [size.to_bytes(SIZE_BYTES, "big")]
    length = SIZE_BYTES
    for piece in _compress(content):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            return None
    return None if size > allowed_size(length - SIZE_BYTES) else pieces


def store(content: bytes) -> list[bytes | memoryview]:
    """Return ``content`` in pieces, in a frame that holds it as it is: in raw blocks (RFC 8878, section 3.1.1.2)."""
    window = b"\x38"  # 2**17 bytes, as a block
    pieces: list[bytes | memoryview] = [len(content).to_bytes(SIZE_BYTES, "big"), _MAGIC, b"\x00", window]
    view = memoryview(content)
    for begin in range(0, len(content), _BLOCK):
        block = view[begin : begin + _BLOCK]
        last = begin + _BLOCK >= len(content)
        pieces += [(len(block) << 3 | last).to_bytes(3, "little"), block]
    return pieces


def allowed_size(frame_length: int) -> int:
    """Return how many bytes a frame of this length may yield at most, whatever the reader's settings are."""
    return _FREE + _RATIO * frame_length


def claimed_size(data: bytes) -> int:
    """Return how many bytes ``data`` says that it yields. Nothing of it is checked."""
    return int.from_bytes(data[:SIZE_BYTES], "big")


def decompress(data: bytes, limit: int, take: Take | None = None) -> bytes:
    """Return the content of ``data``.

    Args:
        data: u32 size ‖ frame; anyone's.
        limit: how many bytes the content may have.
        take: called with the size, once ``data`` may be decompressed.

    Raises:
        InvalidCiphertext: ``data`` is anything else, or its content is too large.
    """
    size, frame = claimed_size(data), memoryview(data)[SIZE_BYTES:]
    _check_size(size, len(frame), limit)
    _check_header(frame, size)
    if take is not None:
        take(size)
    return _decompress(frame, size)


@lru_cache(maxsize=1)
def load_zstd() -> Any:
    """Return Python's module for zstd, or its backport. It is loaded when it is first needed.

    Raises:
        ConfigurationError: this Python has none.
    """
    if sys.version_info >= (3, 14):
        name, fix = "compression.zstd", "use one that was built with zstd"
    else:
        name, fix = "backports.zstd", "install backports.zstd"
    try:
        return import_module(name)
    except ImportError:
        pass  # raised below, without this error behind it
    raise ConfigurationError(f"compression: this Python has no module {name}: {fix}")


def _check_size(size: int, frame_length: int, limit: int) -> None:
    if not size:
        raise _refuse("claims to be empty")
    if size > limit:
        raise _refuse("is larger than max_payload allows")
    if size > allowed_size(frame_length):
        raise _refuse("claims more than its length allows")


def _check_header(frame: memoryview, size: int) -> None:
    """Check a frame's header (RFC 8878, section 3.1.1.1): the first bytes, a window descriptor and the content size."""
    if frame[:4] != _MAGIC or len(frame) < 6:
        raise _refuse("is no zstd frame")
    descriptor = frame[4]
    if descriptor & _RESERVED:
        raise _refuse("has a reserved bit in its header")
    if descriptor & _DICTIONARY:
        raise _refuse("names a dictionary")
    single = bool(descriptor & _SINGLE_SEGMENT)
    window, at = (0, 5) if single else (_window_size(frame[5]), 6)
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    content = int.from_bytes(frame[at : at + width], "little") + (256 if width == 2 else 0)
    if width and content != size:
        raise _refuse("has another size in its header")
    if (content if single else window) > 2**_WINDOW_LOG:
        raise _refuse("has too large a window")


def _window_size(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _decompress(frame: memoryview, size: int) -> bytes:
    zstd = load_zstd()
    try:
        decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        content, left, at = BytesIO(), size, 0  # at its end, `content` hands its bytes over and copies none
        while not decompressor.eof:
            # In steps, since a decompressor copies what it is given and does not need yet.
            given = frame[at : at + _STEP] if decompressor.needs_input else frame[:0]
            piece = decompressor.decompress(given, min(_STEP, left + 1))
            content.write(piece)
            at += len(given)
            left -= len(piece)
            if left < 0 or not (piece or given or decompressor.eof):
                break
    except zstd.ZstdError:
        left = -1
    if left or not decompressor.eof or decompressor.unused_data or at < len(frame):
        raise _refuse("is not one frame of the size that it claims")
    return content.getvalue()


def _refuse(why: str) -> InvalidCiphertext:
    return InvalidCiphertext(f"what was sealed is compressed, and {why}", operation="open")


class _Own(threading.local):
    """The compressor of a thread. To make one takes longer than to compress 1 KiB."""

    compressor: ZstdCompressor | None = None


_own = _Own()


def _compress(content: bytes) -> Iterator[bytes]:
    """Yield a frame in pieces. What is smaller than a step is one piece."""
    zstd = load_zstd()
    compressor = _own.compressor or zstd.ZstdCompressor(_LEVEL)
    _own.compressor = None  # one that failed, or did not come to the end, is not used again
    begin, view = 0, memoryview(content)
    if len(content) > _COMPRESSED_STEP:
        compressor.set_pledged_input_size(len(content))
        for begin in range(_COMPRESSED_STEP, len(content), _COMPRESSED_STEP):
            yield compressor.compress(view[begin - _COMPRESSED_STEP : begin], compressor.CONTINUE)
    last: bytes = compressor.compress(view[begin:], compressor.FLUSH_FRAME)
    _own.compressor = compressor
    yield last
