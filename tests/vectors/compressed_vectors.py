"""Vectors of compressed inner Payloads. Their frames are written by hand, or were written by libzstd 1.5.7 once."""

from __future__ import annotations

from tests.vectors.good_vectors import BASE, HELLO, JSON, Entry, entry, good
from tests.vectors.lax_frame import MAGIC, WINDOW, compressed, frame, raw, run, sized
from tests.vectors.lax_writer import payload, seal

ORDER_DATA = (
    b"["
    + b",".join(b'{"item":"lamp","count":%d,"price":"%d.50"}' % (n * n % 23, n * 37 % 91) for n in range(24))
    + b"]"
)
ORDER = payload(JSON, ORDER_DATA)
# ORDER, as libzstd compresses it
LEVEL_1 = bytes.fromhex(
    "28b52ffd601003b5060012081d22b037070cc3300c2b22dc6bb857ee2086bb4e43e287c82469a7943209b4551848a17a85093341"
    "96fdb5f5aa7bdb67efc6be9fdfeeefcafbca58b3f2b2c435b7356bc6ba26cc044954b0615c22c2950a4a6f0131b8307a1607157c"
    "1ac9218300681ccf2d4e34789002a18ec3730688794d4009542e2030634e76cd1be02298d1db26c7565c94963806c4c10ca25962"
    "2b585804817f8aa38dfb5670b1fbaa8e7011cc70bb1d5ba0608385dd2bcc0616d21a5f733106c6171987c0e2b66164b9acc1a217"
    "3b307611666f032cdac5c2ac60358b02"
)
WITH_CHECKSUM = bytes.fromhex(
    "28b52ffd641003b5060012081d22b037070cc3300c2b22dc6bb857ee2086bb4e43e287c82469a7943209b4551848a17a85093341"
    "96fdb5f5aa7bdb67efc6be9fdfeeefcafbca58b3f2b2c435b7356bc6ba26cc044954b0615c22c2950a4a6f0131b8307a1607157c"
    "1ac9218300681ccf2d4e34789002a18ec3730688794d4009542e2030634e76cd1be02298d1db26c7565c94963806c4c10ca25962"
    "2b585804817f8aa38dfb5670b1fbaa8e7011cc70bb1d5ba0608385dd2bcc0616d21a5f733106c6171987c0e2b66164b9acc1a217"
    "3b307611666f032cdac5c2ac60358b020065ea85"
)
LEVEL_19_WITHOUT_SIZE = bytes.fromhex(
    "28b52ffd0008bd050002081c1eb0eb0cc3300c4b89dcb82b63326c421de64d4a252b5352543a9d8384ea018ab67c14edfcf24dd8"
    "6ffecf96fe70fab774f892bfbde58b0cfd79c7e37bc208a33f425b3e0a5e641d8656d4128cec55b18959622969891659c9b9e866"
    "09b009952e1165d4c9829cf054da4c4c750237b827a8618cbdff9f01f03252e006113c95097f235cc4c9d9030dcc4c378908449f"
    "cabf0c04ffad5ad9bcda07f0480534b3c63b596a08c1d08e0e58e0e4494d00838279510d"
)
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
BINARY = {"encoding": b"binary/plain"}
START = 30  # bytes of a Payload of zeros before its data


def zeros(size: int) -> bytes:
    """A serialized Payload of ``size`` bytes, 80,000 of them or more, all zeros but its start."""
    found = payload(BINARY, bytes(size - START))
    assert len(found) == size
    return found


def frame_of_zeros(size: int) -> bytes:
    """A frame that yields `zeros`: its beginning as it is, then runs."""
    blocks = [raw(zeros(size)[:START], last=False)]
    left = size - START
    while left > 2**17:
        blocks.append(run(b"\0", 2**17, last=False))
        left -= 2**17
    return frame(*blocks, run(b"\0", left))


def at_the_ratio() -> int:
    """The most that a frame of its length may yield."""
    return 2**16 + 256 * len(frame_of_zeros(80_000))


def fields(count: int) -> tuple[bytes, bytes]:
    """A serialized Payload of ``count`` fields, all but the first `data`, and a frame that yields it."""
    start, end = payload(BINARY, b""), b"\x12\x01x"
    length = 20 * (count - 2)  # the byte is tag, length and value of a field in turn
    return start + b"\x12" * length + end, frame(raw(start, last=False), run(b"\x12", length, last=False), raw(end))


def fields_between(*between: bytes) -> bytes:
    """A serialized Payload with ``between`` between its metadata and its data."""
    return payload(BINARY, b"") + b"".join(between) + b"\x12\x01x"


def large_field(tag: bytes, length: bytes, size: int, after: bytes = b"") -> tuple[bytes, bytes]:
    """A serialized Payload with a field of ``size`` zeros, and a frame that yields it."""
    start, end = payload(BINARY, b"") + tag + length, after + b"\x12\x01x"
    return start + bytes(size) + end, frame(raw(start, last=False), run(b"\0", size, last=False), raw(end))


def beside_data(size: int) -> tuple[bytes, bytes]:
    """A serialized Payload of ``size`` bytes and a byte of data, most of them one unknown field; and a frame."""
    length = size - len(payload(BINARY, b"")) - len(b"\x7a\xff\xff\x03") - len(b"\x12\x01")
    assert 2**14 <= length < 2**16
    return large_field(b"\x7a", length_of(length), length)


def length_of(size: int) -> bytes:
    """A length of three bytes."""
    return bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])


def accepted() -> list[Entry]:
    """Compressed Payloads that a reader decompresses."""
    stored = frame(raw(HELLO))
    inside = payload({**JSON, "encryption-padding": bytes(9)}, b'"hello"')
    twice = compressed(sized(len(HELLO), stored))
    envelope = seal(BASE)
    sealed = payload(envelope.metadata, envelope.data)
    most = at_the_ratio()

    def opened(name: str, comment: str, content: bytes, written: bytes, *more: object, **reader: object) -> Entry:
        inner = compressed(sized(len(content), written))
        return good(f"compressed-{name}", comment, BASE.but(inner=inner), *more, **reader)  # type: ignore[arg-type]

    def sizes(name: str, descriptor: int, width: int, offset: int = 0) -> Entry:
        header = bytes([descriptor]) + WINDOW + (len(ORDER) - offset).to_bytes(width, "little")
        comment = f"The frame's content size takes {width} bytes."
        return opened(f"size-{name}", comment, ORDER, frame(raw(ORDER), header=header), None, ORDER_DATA)

    def bounds(name: str, comment: str, written: tuple[bytes, bytes], metadata: dict[str, bytes] = BINARY) -> Entry:
        return opened(name, comment, *written, metadata, b"x")

    small = payload({}, b"x")
    entries, groups = fields_between(b"\x0a\x00" * 1_022), fields_between(b"\x7b\x7c" * 511)
    return [
        opened("text", "zstd at level 1: one segment, with its content size.", ORDER, LEVEL_1, None, ORDER_DATA),
        opened("checksum", "The frame has a checksum.", ORDER, WITH_CHECKSUM, None, ORDER_DATA),
        opened(
            "without-size",
            "zstd at level 19: a window, no content size.",
            ORDER,
            LEVEL_19_WITHOUT_SIZE,
            None,
            ORDER_DATA,
        ),
        opened("stored", "A frame that holds its content as it is.", HELLO, stored),
        opened(
            "size-one",
            "The frame's content size takes one byte.",
            small,
            frame(raw(small), header=b"\x20" + bytes([len(small)])),
            {},
            b"x",
        ),
        sizes("two", 0x40, 2, 256),
        sizes("four", 0x80, 4),
        sizes("eight", 0xC0, 8),
        opened(
            "blocks",
            "A block for each byte, and an empty one at the end.",
            HELLO,
            frame(*(raw(bytes([byte]), last=False) for byte in HELLO), raw(b"")),
        ),
        opened("window", "A window of 8 MiB.", HELLO, frame(raw(HELLO), header=b"\x00\x68")),
        opened("unused-bit", "The frame has the bit that means nothing.", HELLO, frame(raw(HELLO), header=b"\x10\x38")),
        opened(
            "ratio",
            "64 KiB, and 256 bytes for each byte of the frame.",
            zeros(most),
            frame_of_zeros(most),
            BINARY,
            bytes(most - START),
        ),
        opened(
            "max-payload", "As large as the reader allows.", ORDER, LEVEL_1, None, ORDER_DATA, max_payload=len(ORDER)
        ),
        opened("padding-inside", "A padding is dropped from what was compressed.", inside, frame(raw(inside))),
        good(
            "compressed-padding-outside",
            "A padding beside the compressed data is ignored.",
            BASE.but(inner=compressed(sized(len(HELLO), stored), {"encryption-padding": bytes(9)})),
        ),
        opened(
            "twice",
            "A compressed Payload that was compressed: one layer is taken off.",
            twice,
            frame(raw(twice)),
            {"encoding": b"binary/zstd-payload-v1"},
            sized(len(HELLO), stored),
        ),
        opened(
            "envelope",
            "An envelope that was compressed is handed over as one.",
            sealed,
            frame(raw(sealed)),
            envelope.metadata,
            envelope.data,
        ),
        good(
            "compressed-near-encoding",
            "Another encoding that only begins alike is nobody's matter.",
            BASE.but(inner=payload({"encoding": b"binary/zstd-payload-v10"}, b"x")),
            {"encoding": b"binary/zstd-payload-v10"},
            b"x",
        ),
        bounds("fields-most", "1,024 fields.", fields(1_024)),
        bounds(
            "fields-most-metadata",
            "1,024 fields, most of them metadata.",
            (entries, frame(raw(entries))),
            {**BINARY, "": b""},
        ),
        bounds("fields-most-groups", "1,024 fields, 511 unknown groups among them.", (groups, frame(raw(groups)))),
        bounds("beside-most", "65,536 bytes beside the data.", beside_data(65_536)),
        bounds(
            "beside-data-first",
            "Of two values of data, both are data.",
            large_field(b"\x12", length_of(66_000), 66_000),
        ),
        bounds(
            "beside-data-in-group",
            "Data in an unknown group is data.",
            large_field(b"\x7b\x12", length_of(66_000), 66_000, b"\x7c"),
        ),
        bounds(
            "beside-data-long-tag",
            "A tag of data and a length take a byte more than they need.",
            large_field(b"\x92\x00", length_of(66_000)[:2] + b"\x84\x00", 66_000),
        ),
    ]


def refused() -> list[Entry]:
    """Compressed Payloads with one defect each."""
    size, stored = len(HELLO), frame(raw(HELLO))
    most = at_the_ratio()
    empty = frame(raw(b""))

    def bad(name: str, comment: str, data: bytes, *fields: bytes, **reader: object) -> Entry:
        inner = compressed(data) + b"".join(fields)
        return entry(f"compressed-{name}", comment, seal(BASE.but(inner=inner)), "InvalidCiphertext", **reader)  # type: ignore[arg-type]

    def with_metadata(name: str, comment: str, metadata: dict[str, bytes]) -> Entry:
        inner = compressed(sized(size, stored), metadata)
        return entry(f"compressed-{name}", comment, seal(BASE.but(inner=inner)), "InvalidCiphertext")

    def bounds(name: str, comment: str, content: bytes, written: bytes = b"") -> Entry:
        return bad(name, comment, sized(len(content), written or frame(raw(content))))

    no_payload, no_name = b"\x0a\x05\x01", b"\x0a\x06\x0a\x01\xff\x12\x01v" + HELLO
    return [
        bad("no-data", "There is no data.", b""),
        bad("size-cut", "The size is cut.", b"\x00\x00\x01"),
        bad("size-0", "The size is 0, as is the content.", sized(0, empty)),
        bad("size-less", "The frame yields a byte more than the size.", sized(size - 1, stored)),
        bad("size-more", "The frame yields a byte less than the size.", sized(size + 1, stored)),
        bad(
            "over-ratio",
            "A byte more than 64 KiB and 256 bytes for each byte of the frame.",
            sized(most + 1, frame_of_zeros(most + 1)),
        ),
        bad("over-ratio-bomb", "2 MiB in a frame of 103 bytes.", sized(2**21, frame_of_zeros(2**21))),
        bad("bomb-of-less", "2 MiB in a frame of 103 bytes; the size is 80,000.", sized(80_000, frame_of_zeros(2**21))),
        bad(
            "over-max-payload",
            "A byte more than the reader allows.",
            sized(len(ORDER), LEVEL_1),
            max_payload=len(ORDER) - 1,
        ),
        bad(
            "other-content-size",
            "The frame's content size is another than the size, which is right.",
            sized(size, frame(raw(HELLO), header=b"\x40\x38" + (size - 1).to_bytes(2, "little"))),
        ),
        bad("window-over", "A window of more than 8 MiB.", sized(size, frame(raw(HELLO), header=b"\x00\x69"))),
        bad("dictionary", "The frame names a dictionary.", sized(size, frame(raw(HELLO), header=b"\x01\x38\x07"))),
        bad("dictionary-0", "The frame names dictionary 0.", sized(size, frame(raw(HELLO), header=b"\x01\x38\x00"))),
        bad("reserved-bit", "The frame has the reserved bit.", sized(size, frame(raw(HELLO), header=b"\x08\x38"))),
        bad("magic", "The frame has the magic number of an earlier format.", sized(size, b"\x27" + stored[1:])),
        bad("no-frame", "There is no frame.", sized(size, b"")),
        bad("header-cut", "The frame is cut in its header.", sized(size, MAGIC + b"\x00")),
        bad("frame-cut", "The frame is cut in its last block.", sized(size, stored[:-1])),
        bad("no-last-block", "No block is the last one.", sized(size, frame(raw(HELLO, last=False)))),
        bad("block-type", "A block of the reserved type.", sized(size, frame(raw(HELLO, kind=3)))),
        bad("checksum-wrong", "A bit of the checksum is flipped.", sized(len(ORDER), WITH_CHECKSUM[:-1] + b"\x84")),
        bad("checksum-cut", "The checksum is cut.", sized(len(ORDER), WITH_CHECKSUM[:-1])),
        bad("byte-after", "A byte follows the frame.", sized(size, stored + b"\x00")),
        bad(
            "frame-after",
            "A frame follows the frame; both together have the size.",
            sized(size, frame(raw(HELLO[:9])) + frame(raw(HELLO[9:]))),
        ),
        bad("empty-frame-after", "An empty frame follows the frame.", sized(size, stored + empty)),
        bad("skippable-alone", "A skippable frame.", sized(3, SKIPPABLE)),
        bad("skippable-before", "A skippable frame before the frame.", sized(size, SKIPPABLE + stored)),
        bad("skippable-after", "A skippable frame after the frame.", sized(size, stored + SKIPPABLE)),
        with_metadata("metadata", "Other metadata.", {"note": b""}),
        with_metadata("metadata-no-name", "Metadata without a name.", {"": b"v"}),
        bad("external-payloads", "The field external_payloads.", sized(size, stored), b"\x1a\x02\x08\x01"),
        bad("unknown-field", "A field of a later Payload.", sized(size, stored), b"\x7a\x01x"),
        bad("no-payload", "What was compressed is no Payload.", sized(len(no_payload), frame(raw(no_payload)))),
        bad(
            "name-not-utf8",
            "A metadata name of what was compressed is not UTF-8.",
            sized(len(no_name), frame(raw(no_name))),
        ),
        bounds("fields-over", "1,025 fields.", *fields(1_025)),
        bounds("fields-over-metadata", "1,025 fields, most of them metadata.", fields_between(b"\x0a\x00" * 1_023)),
        bounds(
            "fields-over-external", "1,025 fields, most of them external_payloads.", fields_between(b"\x1a\x00" * 1_023)
        ),
        bounds(
            "fields-over-groups",
            "1,025 fields: begins and ends of unknown groups count.",
            fields_between(b"\x7b\x7c" * 511, b"\x78\x01"),
        ),
        bounds(
            "fields-over-in-group",
            "1,025 fields: those in an unknown group count.",
            fields_between(b"\x7b", b"\x78\x01" * 1_021, b"\x7c"),
        ),
        bounds("beside-over", "65,537 bytes beside the data.", *beside_data(65_537)),
    ]
