"""How a failure, a header and a stored payload get to Temporal."""

from __future__ import annotations

from tools.pictures.drawing import Picture


def _lane(picture: Picture, y: float, name: str, hops: list[tuple[str, list[str]]]) -> None:
    picture.zone(12, y, 1036, 108, name)
    width, gap = 186.0, 20.0
    before = None
    for number, (style, lines) in enumerate(hops):
        box = picture.box(26 + number * (width + gap), y + 28, width, *lines, style=style, height=66)
        if before is not None:
            picture.arrow(before.right, box.left)
        before = box


def travels() -> Picture:
    """Draw a lane for each."""
    title = "How a failure, a header and a stored payload get to Temporal, from left to right."
    picture = Picture("travels", title, 1060, 372)
    _lane(
        picture,
        12,
        "a failure",
        [
            ("plain", ["an exception", "of an activity,", "a workflow, a handler"]),
            ("plain", ["failure converter", "the SDK's or yours,", "wrapped by ours"]),
            ("ours", ["hide", "message and stack trace", "to encoded_attributes"]),
            ("ours", ["EnvelopeCodec.encode", "seals these attributes", "and the details"]),
            ("sealed", ["Temporal", "type name in clear,", "all else sealed"]),
        ],
    )
    _lane(
        picture,
        132,
        "a header",
        [
            ("plain", ["an interceptor", "tracing, context"]),
            ("plain", ["payload converter", "a Payload for each", "name"]),
            ("plain", ["the SDK", "header_codec_behavior", "is CODEC"]),
            ("ours", ["EnvelopeCodec.encode", "for the client's own", "namespace"]),
            ("sealed", ["Temporal", "names in clear,", "values sealed"]),
        ],
    )
    _lane(
        picture,
        252,
        "a stored payload",
        [
            ("ours", ["an envelope", "of storage_threshold", "bytes or more"]),
            ("ours", ["EnvelopeDriver.store", "a random id"]),
            ("plain", ["the datastore", "the envelope under", "this id, durable"]),
            ("ours", ["Claim.sealed", "id, digest and size,", "sealed as a payload"]),
            ("sealed", ["Temporal", "a reference: store's", "name, size, envelope"]),
        ],
    )
    return picture
