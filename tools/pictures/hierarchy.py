"""The key hierarchy: which key wraps which, where each of them lives, and what a KMS call is needed for."""

from __future__ import annotations

from tools.pictures.drawing import Picture


def hierarchy() -> Picture:
    """Draw it from the KMS on the left to what Temporal stores on the right."""
    picture = Picture(
        "key-hierarchy",
        "A master key in the KMS wraps a wrapping key, by one call. The wrapping key, in memory, wraps a data key for "
        "each payload, without a call. Each envelope in Temporal carries all of it, wrapped.",
        940,
        344,
    )
    picture.zone(12, 14, 168, 316, "in your KMS")
    picture.zone(250, 14, 376, 316, "in the memory of a worker or client")
    picture.zone(700, 14, 228, 316, "in Temporal: envelopes")
    master = picture.box(24, 140, 144, "master key", "never leaves the KMS", style="kms")
    wrapping = picture.box(
        262, 124, 150, "wrapping key", "one for up to 24 h", "or 1,048,576 payloads", "used under a lease", style="ours"
    )
    picture.arrow(master.right, wrapping.left, label="wraps it:\none call", at=(215, 138))
    for number, y in (("1", 42), ("2", 132), ("10,000", 252)):
        key = picture.box(480, y + 8, 134, f"data key {number}", "for one payload", style="ours")
        picture.arrow(wrapping.right, key.left)
        lines = (f"payload {number}, encrypted", f"data key {number}, wrapped", "the wrapping key, wrapped")
        envelope = picture.box(712, y, 204, *lines, style="sealed")
        picture.arrow(key.right, envelope.left, label="encrypts" if number == "1" else "", at=(663, 66))
    picture.text(424, 84, "wraps each:", "muted middle")
    picture.text(424, 100, "no call", "muted middle")
    picture.text(547, 226, "…", "title middle")
    picture.text(814, 226, "…", "title middle")
    return picture
