"""The way of one payload, each hop once: sealing on the way to Temporal, opening on the way back."""

from __future__ import annotations

from tools.pictures.drawing import Box, Picture

_WIDTH = 372
_LEFT = 24
_GAP = 20


def _hops(picture: Picture, hops: list[tuple[str, list[str]]]) -> list[Box]:
    boxes: list[Box] = []
    y = 40.0
    for style, lines in hops:
        box = picture.box(_LEFT, y, _WIDTH, *lines, style=style)
        if boxes:
            picture.arrow(boxes[-1].bottom, box.top)
        boxes.append(box)
        y += box.height + _GAP
    return boxes


def sealing() -> Picture:
    """Draw how a value becomes an envelope."""
    title = "Sealing: from a value to an envelope in Temporal. A KMS is asked only where no sealing key is at hand."
    picture = Picture("sealing", title, 900, 512)
    picture.text(_LEFT, 26, "every payload", "title")
    picture.text(498, 26, "only where no sealing key is at hand", "title")
    hops = _hops(
        picture,
        [
            ("plain", ["payload converter (the SDK's or yours)", "makes a Payload of a value"]),
            ("plain", ["temporal/chain.py: CodecChain", "your own codec encodes first, if there is one"]),
            ("ours", ["temporal/codec.py: EnvelopeCodec.encode", "passes what must reach the server in clear"]),
            (
                "ours",
                [
                    "keys/sealing.py, by Keyring.try_sealing_key",
                    "the key in use: young, live lease? Counts the payload",
                ],
            ),
            ("ours", ["envelope.py: seal", "draws a data key and a nonce; wraps, derives, encrypts"]),
            (
                "plain",
                ["storage/driver.py: EnvelopeDriver.store", "only with storage, and only what is large: see below"],
            ),
            ("sealed", ["Temporal", "stores the envelope, or the sealed reference to it"]),
        ],
    )
    x, width = 498.0, 378.0
    decide = hops[3]
    get = picture.box(
        x, 40, width, "keys/sealing.py, by Keyring.sealing_key", "the caller waits, up to its deadline", style="ours"
    )
    flight = picture.box(
        x, get.y + get.height + _GAP, width, "keys/flight.py: Flight", "one for all who want the same key", style="ours"
    )
    calls = picture.box(
        x,
        flight.y + flight.height + _GAP,
        width,
        "keys/calls.py: KmsCalls, in a thread",
        "retries with backoff; keeps a breaker for each KMS",
        style="ours",
    )
    wrap = picture.box(
        x,
        calls.y + calls.height + _GAP,
        width,
        "a provider: MasterKey.wrap",
        "each of key and backup_keys wraps the secret",
        style="kms",
    )
    check = picture.box(
        x,
        wrap.y + wrap.height + _GAP,
        width,
        "keys/vouching.py: Leases.unwrap",
        "opens the new record once: it must open, and begins a lease",
        style="kms",
    )
    use = picture.box(
        x,
        check.y + check.height + _GAP,
        width,
        "the new sealing key is in use",
        "its successor is made in the background in time",
        style="ours",
    )
    for one, other in ((get, flight), (flight, calls), (calls, wrap), (wrap, check), (check, use)):
        picture.arrow(one.bottom, other.top)
    picture.arrow(
        decide.at_right(0.3),
        (446, decide.at_right(0.3)[1]),
        (446, get.left[1]),
        get.left,
        label="none",
        at=(424, decide.y + 8),
        slow=True,
    )
    picture.arrow(use.left, (470, use.left[1]), (470, decide.at_right(0.75)[1]), decide.at_right(0.75), slow=True)
    return picture


def opening() -> Picture:
    """Draw how an envelope becomes a value."""
    title = "Opening: from an envelope to a value. A KMS is asked only where the record's key is not at hand."
    picture = Picture("opening", title, 900, 664)
    picture.text(_LEFT, 26, "every payload", "title")
    picture.text(498, 26, "only where the record's key is not at hand", "title")
    hops = _hops(
        picture,
        [
            ("sealed", ["Temporal", "gives the SDK what it has stored"]),
            (
                "plain",
                [
                    "storage/driver.py: EnvelopeDriver.retrieve",
                    "only for references: opens the claim, fetches, compares",
                ],
            ),
            ("ours", ["temporal/codec.py: EnvelopeCodec.decode", "with your codec behind it in the chain"]),
            (
                "ours",
                [
                    "envelope.py: parse",
                    "strict; a malformed envelope never reaches a KMS",
                    "no envelope: legacy codec, pass, or EncryptionRequired",
                ],
            ),
            ("ours", ["temporal/codec.py", "compares the namespace, where the SDK tells one"]),
            (
                "ours",
                [
                    "keys/opening.py, by Keyring.try_opening_key",
                    "the same id and head, a configured recipient, live lease?",
                ],
            ),
            ("ours", ["envelope.py: open_envelope", "unwraps the data key, compares the commitment, decrypts"]),
            ("ours", ["Keyring.opened", "the lease counts as used, so it will be renewed"]),
            ("plain", ["your codec, then the payload converter", "the value"]),
        ],
    )
    x, width = 498.0, 378.0
    decide = hops[5]
    lines = [
        ("ours", ["keys/opening.py, by Keyring.opening_key", "refused a moment ago? Then the same refusal at once"]),
        ("ours", ["keys/vouching.py: renewal of a lapsed lease", "one call renews it for all keys under it"]),
        ("ours", ["keys/flight.py: Flight", "one for all who want this record's key"]),
        ("ours", ["keys/calls.py: KmsCalls, in a thread", "asks those first whose breaker is closed"]),
        (
            "kms",
            [
                "a provider: MasterKey.unwrap",
                "recipients in the record's order, each only if it is",
                "configured for the record's own namespace",
            ],
        ),
        ("ours", ["the secret must lead to the record's id", "else that recipient is corrupt: the next is asked"]),
        ("ours", ["keys/keycache.py: KeyCache", "keeps the key, with the lease that the success began"]),
    ]
    y, boxes = 40.0, list[Box]()
    for style, text in lines:
        box = picture.box(x, y, width, *text, style=style)
        if boxes:
            picture.arrow(boxes[-1].bottom, box.top)
        boxes.append(box)
        y += box.height + _GAP
    picture.arrow(
        decide.at_right(0.3),
        (446, decide.at_right(0.3)[1]),
        (446, boxes[0].left[1]),
        boxes[0].left,
        label="none",
        at=(424, decide.y + 8),
        slow=True,
    )
    picture.arrow(
        boxes[-1].left, (470, boxes[-1].left[1]), (470, decide.at_right(0.75)[1]), decide.at_right(0.75), slow=True
    )
    return picture
