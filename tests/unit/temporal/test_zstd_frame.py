"""One frame with its size: what is written comes back, and what claims too much is refused before it is unpacked."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope_codec import ConfigurationError, EnvelopeError, InvalidCiphertext
from envelope_codec.temporal import zstd_frame
from envelope_codec.temporal.zstd_frame import allowed_size, decompress, load_zstd

LIMIT = 2**26
TEXT = b'{"order": 17, "lines": [' + b'{"name": "lamp", "count": 2}, ' * 50 + b"]}"
LARGE = b"".join(b'{"id": "%s", "name": "lamp"}' % os.urandom(6).hex().encode() for _ in range(50_000))
MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"


def compress(content: bytes) -> bytes:
    return b"".join(zstd_frame.compress(content))


def sized(size: int, frame: bytes) -> bytes:
    return size.to_bytes(4, "big") + frame


def raw(content: bytes, *, header: bytes = b"\x00\x38", last: bool = True) -> bytes:
    """A frame of one raw block."""
    return MAGIC + header + (len(content) << 3 | last).to_bytes(3, "little") + content


def frame_of(content: bytes, **options: Any) -> bytes:
    zstd = load_zstd()
    named = {zstd.CompressionParameter[name]: value for name, value in options.items()}
    frame: bytes = zstd.compress(content, options=named)
    return frame


def streamed(content: bytes, **options: Any) -> bytes:
    """A frame of a writer that did not know at its beginning how long the content would be."""
    zstd = load_zstd()
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter[name]: v for name, v in options.items()})
    frame: bytes = compressor.compress(content) + compressor.flush()
    return frame


@pytest.mark.parametrize(
    "content",
    [
        b"a",
        TEXT,
        os.urandom(3 * 2**20),
        bytes(2**16),
        bytes(2**17),
        bytes(2**17 + 1),
        bytes(5 * 2**20),  # too high a ratio
        LARGE,
    ],
    ids=len,
)
def test_what_is_written_comes_back(content: bytes) -> None:
    data = compress(content)
    assert decompress(data, LIMIT) == content
    assert decompress(data, len(content)) == content
    assert len(content) <= allowed_size(len(data) - 4)


def test_text_shrinks() -> None:
    assert len(compress(TEXT)) < len(TEXT) / 5


@pytest.mark.parametrize("size", [1, 2**17 - 1, 2**17, 2**17 + 1, 2**20])
def test_a_frame_that_stores_its_content_is_one_that_any_library_reads(size: int) -> None:
    content = os.urandom(size)
    assert load_zstd().decompress(b"".join(zstd_frame.store(content))[4:]) == content


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ({"checksum_flag": 1}, TEXT),
        ({"content_size_flag": 0}, TEXT),
        ({"compression_level": 7}, LARGE),
        ({"window_log": 23, "content_size_flag": 0}, LARGE),
    ],
)
def test_frames_of_other_writers_are_read(options: dict[str, int], content: bytes) -> None:
    assert decompress(sized(len(content), frame_of(content, **options)), LIMIT) == content


def test_a_frame_of_many_blocks_is_read() -> None:
    blocks = b"".join((1 << 3).to_bytes(3, "little") + b"a" for _ in range(1_000))
    data = MAGIC + b"\x00\x38" + blocks + b"\x01\x00\x00"
    assert decompress(sized(1_000, data), LIMIT) == b"a" * 1_000


FRAME = frame_of(TEXT)
UNSIZED = frame_of(TEXT, content_size_flag=0)
CHECKED = frame_of(TEXT, checksum_flag=1)
BOMB = frame_of(bytes(2**24))
WIDE = streamed(bytes(100), window_log=24)
REFUSED = {
    "nothing": b"",
    "only a size": sized(len(TEXT), b""),
    "size cut": b"\x00\x00\x01",
    "size 0": sized(0, raw(b"")),
    "size 0 of something": sized(0, UNSIZED),
    "size too small": sized(len(TEXT) - 1, UNSIZED),
    "size too large": sized(len(TEXT) + 1, UNSIZED),
    "size too large by a lot": sized(2**16, UNSIZED),
    "size is not the header's": sized(len(TEXT) + 1, FRAME),
    "header's size is 0": sized(1, MAGIC + b"\x20\x00" + b"\x09\x00\x00a"),
    "over max_payload": sized(LIMIT + 1, FRAME),
    "largest size": sized(2**32 - 1, FRAME),
    "over the ratio": sized(2**24, BOMB),
    "window over 8 MiB": sized(100, WIDE),
    "window a step over 8 MiB": sized(1, raw(b"a", header=b"\x00\x69")),
    "largest window": sized(1, raw(b"a", header=b"\x00\xff")),
    "frame cut in its magic number": sized(len(TEXT), FRAME[:3]),
    "frame cut after its magic number": sized(len(TEXT), FRAME[:4]),
    "frame cut in its header": sized(len(TEXT), FRAME[:6]),
    "frame cut in its last block": sized(len(TEXT), FRAME[:-1]),
    "frame without its last block": sized(1, raw(b"a", last=False)),
    "checksum cut": sized(len(TEXT), CHECKED[:-1]),
    "checksum wrong": sized(len(TEXT), CHECKED[:-1] + bytes([CHECKED[-1] ^ 1])),
    "a byte after the frame": sized(len(TEXT), FRAME + b"\x00"),
    "a frame after the frame": sized(len(TEXT), frame_of(TEXT[:9]) + frame_of(TEXT[9:])),
    "an empty frame after the frame": sized(len(TEXT), FRAME + frame_of(b"")),
    "skippable frame": sized(3, SKIPPABLE),
    "skippable frame before the frame": sized(len(TEXT), SKIPPABLE + FRAME),
    "skippable frame after the frame": sized(len(TEXT), FRAME + SKIPPABLE),
    "dictionary": sized(1, raw(b"a", header=b"\x01\x38\x07")),
    "dictionary of number 0": sized(1, raw(b"a", header=b"\x01\x38\x00")),
    "reserved bit": sized(1, raw(b"a", header=b"\x08\x38")),
    "block of the reserved type": sized(1, MAGIC + b"\x00\x38" + b"\x0f\x00\x00a"),
    "earlier format of zstd": sized(1, b"\x27" + raw(b"a")[1:]),
    "no zstd": sized(3, b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidCiphertext, match=r"^what was sealed is compressed, and ") as caught:
        decompress(REFUSED[name], LIMIT)
    assert caught.value.operation == "open"
    assert caught.value.__context__ is None


def test_the_samples_have_the_defect_that_they_are_named_for() -> None:
    """Without their defect they are read."""
    assert decompress(sized(1, raw(b"a")), LIMIT) == b"a"
    assert decompress(sized(1, raw(b"a", header=b"\x00\x68")), LIMIT) == b"a"  # 8 MiB
    assert decompress(sized(1, MAGIC + b"\x20\x01" + b"\x09\x00\x00a"), LIMIT) == b"a"
    assert decompress(sized(100, streamed(bytes(100), window_log=23)), LIMIT) == bytes(100)
    for frame in (FRAME, UNSIZED, CHECKED):
        assert decompress(sized(len(TEXT), frame), LIMIT) == TEXT
    with pytest.raises(InvalidCiphertext, match="max_payload"):
        decompress(sized(len(TEXT), FRAME), len(TEXT) - 1)


def test_the_ratio_is_bound_to_the_byte() -> None:
    """64 KiB, and 256 bytes for each byte of the frame."""
    length = len(frame_of(bytes(70_000), content_size_flag=0))
    most = 2**16 + 256 * length
    for size, fits in ((most, True), (most + 1, False)):
        frame = frame_of(bytes(size), content_size_flag=0)
        assert len(frame) == length
        if fits:
            assert decompress(sized(size, frame), LIMIT) == bytes(size)
        else:
            with pytest.raises(InvalidCiphertext, match="more than its length allows"):
                decompress(sized(size, frame), LIMIT)


@pytest.mark.parametrize(("size", "fits"), [(2**23, True), (2**23 + 1, False)])
def test_the_window_of_a_single_segment_is_its_content(size: int, fits: bool) -> None:
    content = os.urandom(size)
    stored = b"".join(zstd_frame.store(content))
    data = sized(size, MAGIC + b"\xa0" + size.to_bytes(4, "little") + stored[10:])
    if fits:
        assert decompress(data, LIMIT) == content
    else:
        with pytest.raises(InvalidCiphertext, match="window"):
            decompress(data, LIMIT)


def test_a_bomb_takes_no_memory() -> None:
    """64 MiB of zeros in 2 KiB: refused for what it claims, and if it claims less, after a step beyond that."""
    bomb = frame_of(bytes(2**26), content_size_flag=0)
    assert 30_000 * len(bomb) < 2**26
    allowed = allowed_size(len(bomb))
    tracemalloc.start()
    try:
        for size in (2**26, 2**20, allowed, 1):
            with pytest.raises(InvalidCiphertext):
                decompress(sized(size, bomb), LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**20


def test_content_is_decompressed_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    zstd = load_zstd()
    steps: list[int] = []

    class Spy:
        DecompressionParameter = zstd.DecompressionParameter
        ZstdError = zstd.ZstdError

        class ZstdDecompressor:
            def __init__(self, **options: Any) -> None:
                self._own = zstd.ZstdDecompressor(**options)

            def decompress(self, data: Any, limit: int) -> bytes:
                piece: bytes = self._own.decompress(data, limit)
                steps.append(limit)
                assert len(piece) <= limit
                return piece

            def __getattr__(self, name: str) -> Any:
                return getattr(self._own, name)

    content = LARGE
    data = compress(content)
    monkeypatch.setattr(zstd_frame, "load_zstd", lambda: Spy)
    assert decompress(data, LIMIT) == content
    assert max(steps) == 2**20
    assert len(steps) >= len(content) / 2**20


def test_whoever_counts_bytes_is_asked_before_they_are_made() -> None:
    asked: list[int] = []
    assert decompress(compress(TEXT), LIMIT, asked.append) == TEXT
    assert asked == [len(TEXT)]

    class Full(EnvelopeError):
        pass

    def refuse(size: int) -> None:
        raise Full("no room")

    with pytest.raises(Full):
        decompress(sized(len(TEXT), FRAME[:-1]), LIMIT, refuse)  # it would fail
    with pytest.raises(InvalidCiphertext):
        decompress(sized(LIMIT + 1, FRAME), LIMIT, refuse)


@given(st.binary(min_size=1, max_size=3_000), st.data())
def test_no_change_gives_anything_but_content_or_a_refusal(content: bytes, data: st.DataObject) -> None:
    written = bytearray(compress(content))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decompress(bytes(written), LIMIT)
    except InvalidCiphertext:
        return
    assert len(found) == int.from_bytes(written[:4], "big")


@given(st.binary(min_size=1, max_size=3_000), st.data())
def test_no_cut_is_read(content: bytes, data: st.DataObject) -> None:
    written = compress(content)
    with pytest.raises(InvalidCiphertext):
        decompress(written[: data.draw(st.integers(0, len(written) - 1))], LIMIT)


@given(st.integers(0, 2**17), st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(size: int, frame: bytes) -> None:
    for given_frame in (frame, MAGIC + frame):
        try:
            assert len(decompress(sized(size, given_frame), LIMIT)) == size
        except InvalidCiphertext:
            continue


def test_threads_do_not_disturb_one_another() -> None:
    wrong: list[bytes] = []

    def work(mark: bytes) -> None:
        content = (mark + TEXT) * 30
        for _ in range(30):
            if decompress(compress(content), LIMIT) != content:
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(bytes([number]),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_compressor_that_failed_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        FLUSH_FRAME = 2

        def compress(self, *_: object) -> bytes:
            raise MemoryError

    monkeypatch.setattr(zstd_frame._own, "compressor", Failing())
    with pytest.raises(MemoryError):
        compress(TEXT)
    assert decompress(compress(TEXT), LIMIT) == TEXT


@pytest.mark.parametrize("size", [2**22 - 1, 2**22, 2**22 + 1, 2**23, 2**23 + 1])
def test_what_is_compressed_in_steps_is_one_frame_with_its_size(size: int) -> None:
    content = b"".join(b"%d lamps, " % number for number in range(700_000))[:size]
    assert len(content) == size
    data = compress(content)
    assert data[8] >> 6, "the header has the content's size"
    assert len(data) < size / 2
    assert decompress(data, LIMIT) == content


def test_what_does_not_shrink_is_given_up_early_and_leaves_no_half_frame() -> None:
    content = os.urandom(2**24)
    tracemalloc.start()
    try:
        assert zstd_frame.compress_within(content, 2**20) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**24
    assert decompress(compress(TEXT), LIMIT) == TEXT
    assert zstd_frame.compress_within(bytes(2**23), 2**23) is None, "no reader would accept it"
    exactly = len(compress(TEXT))
    assert b"".join(zstd_frame.compress_within(TEXT, exactly) or []) == compress(TEXT)
    assert zstd_frame.compress_within(TEXT, exactly - 1) is None


def test_content_is_in_memory_once_after_it_was_decompressed() -> None:
    content = bytes(range(256)) * 2**14
    data = compress(content + os.urandom(2**17))
    tracemalloc.start()
    try:
        assert len(decompress(data, LIMIT)) == len(content) + 2**17
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.7 * len(content)


def test_a_frame_is_in_memory_once_while_it_is_decompressed() -> None:
    content = os.urandom(2**23)
    data = b"".join(zstd_frame.store(content))
    tracemalloc.start()
    try:
        assert zstd_frame.decompress(data, 2**26) == content
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.4 * len(content), "the content, and two steps"


@pytest.mark.parametrize("more", [1, 2**20, 3 * 2**20 + 1])
def test_what_follows_a_frame_is_refused_wherever_a_step_ends(more: int) -> None:
    for size in (2**20 - 18, 2**20, 2 * 2**20 - 21, 2 * 2**20):
        data = b"".join(zstd_frame.store(os.urandom(size)))
        assert len(zstd_frame.decompress(data, 2**26)) == size
        with pytest.raises(InvalidCiphertext, match="not one frame"):
            zstd_frame.decompress(data + bytes(more), 2**26)
        with pytest.raises(InvalidCiphertext):
            zstd_frame.decompress(data[:-1], 2**26)


def test_a_python_without_zstd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.delattr("backports.zstd", raising=False)
    load_zstd.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match=r"has no module (backports|compression)\.zstd: (install|use)"):
            load_zstd()
    finally:
        load_zstd.cache_clear()
