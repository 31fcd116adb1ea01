"""The way of one payload, each hop once: sealing on the way to Temporal, opening on the way back."""

from __future__ import annotations

from typing import NamedTuple

from tools.pictures.drawing import Box, Picture

_LEFT, _LEFT_WIDTH = 24.0, 372.0
_RIGHT, _RIGHT_WIDTH = 498.0, 378.0
_TOP = 40.0
_GAP = 20.0


class Hop(NamedTuple):
    """One box on the way.

    Attributes:
        style: of the box.
        name: the module, and what works in it; or who else works there.
        lines: what happens there, separated by line ends.
    """

    style: str
    name: str
    lines: str


def _column(picture: Picture, x: float, width: float, hops: list[Hop]) -> list[Box]:
    boxes: list[Box] = []
    y = _TOP
    for hop in hops:
        box = picture.box(x, y, width, hop.name, *hop.lines.split("\n"), style=hop.style)
        if boxes:
            picture.arrow(boxes[-1].bottom, box.top)
        boxes.append(box)
        y += box.height + _GAP
    return boxes


def _detour(picture: Picture, decide: Box, boxes: list[Box]) -> None:
    out, back = decide.at_right(0.3), decide.at_right(0.75)
    first, last = boxes[0].left, boxes[-1].left
    where = (424, decide.y + 8)
    picture.arrow(out, (446, out[1]), (446, first[1]), first, label="none", at=where, slow=True)
    picture.arrow(last, (470, last[1]), (470, back[1]), back, slow=True)


def _picture(name: str, title: str, height: float, detour: str) -> Picture:
    picture = Picture(name, title, 900, height)
    picture.text(_LEFT, 26, "every payload", "title")
    picture.text(_RIGHT, 26, detour, "title")
    return picture


_SEALING = [
    Hop("plain", "payload converter (the SDK's or yours)", "makes a Payload of a value"),
    Hop("plain", "temporal/chain.py: CodecChain", "your own codec encodes first, if there is one"),
    Hop("ours", "temporal/codec.py: EnvelopeCodec.encode", "passes what must reach the server in clear"),
    Hop("ours", "keys/keyring.py: Keyring.try_sealing_key", "the key in use: not due, live lease? Counts the payload"),
    Hop("ours", "envelope.py: seal", "draws a data key and a nonce; wraps, derives, encrypts"),
    Hop("plain", "storage/driver.py: EnvelopeDriver.store", "only with storage, and only what is large: see below"),
    Hop("sealed", "Temporal", "stores the envelope, or the sealed reference to it"),
]
_NEW_KEY = [
    Hop("ours", "keys/sealing.py: SealingKeys.get", "the caller waits, up to its deadline"),
    Hop("ours", "keys/flight.py: Flight", "one for all who want the same key"),
    Hop("ours", "keys/calls.py: KmsCalls, in a thread", "retries with backoff; keeps a breaker for each KMS"),
    Hop("kms", "keys/key_maker.py: KeyMaker.make", "MasterKey.wrap of key and of each of backup_keys"),
    Hop("kms", "keys/vouching.py: Leases.unwrap", "opens the new record once, which begins a lease"),
    Hop("ours", "keys/succession.py: Succession", "puts the new key into use, and later its successor"),
]
_OPENING = [
    Hop("sealed", "Temporal", "gives the SDK what it has stored"),
    Hop(
        "plain", "storage/driver.py: EnvelopeDriver.retrieve", "only for references: opens the claim, fetches, compares"
    ),
    Hop("ours", "temporal/codec.py: EnvelopeCodec.decode", "with your codec behind it in the chain"),
    Hop(
        "ours",
        "envelope.py: parse",
        "strict; a malformed envelope never reaches a KMS\nno envelope: legacy codec, pass, or EncryptionRequired",
    ),
    Hop("ours", "temporal/codec.py", "compares the namespace, where the SDK tells one"),
    Hop(
        "ours", "keys/keyring.py: Keyring.try_opening_key", "the same id and head, a configured recipient, live lease?"
    ),
    Hop("ours", "envelope.py: open_envelope", "unwraps the data key, compares the commitment, decrypts"),
    Hop("ours", "keys/keyring.py: Keyring.note_opened", "the lease counts as used, so it will be renewed"),
    Hop("plain", "your codec, then the payload converter", "the value"),
]
_UNKNOWN_RECORD = [
    Hop("ours", "keys/opening.py: OpeningKeys.get", "refused a moment ago? Then the same refusal at once"),
    Hop("ours", "keys/renewals.py: Renewals.renew_for", "of a lease that has lapsed: one call, for all its keys"),
    Hop("ours", "keys/flight.py: Flight", "one for all who want this record's key"),
    Hop("ours", "keys/calls.py: KmsCalls, in a thread", "asks those first whose breaker is closed"),
    Hop(
        "kms",
        "keys/inquiry.py: Inquiry.ask",
        "MasterKey.unwrap, of recipients in the record's order,\nif configured for the record's own namespace",
    ),
    Hop("ours", "the secret must lead to the record's id", "else that recipient is corrupt: the next is asked"),
    Hop("ours", "keys/keycache.py: KeyCache", "keeps the key, with the lease that the success began"),
]


def sealing() -> Picture:
    """Draw how a value becomes an envelope."""
    title = "Sealing: from a value to an envelope in Temporal. A KMS is asked only where no sealing key is at hand."
    picture = _picture("sealing", title, 512, "only where no sealing key is at hand")
    hops = _column(picture, _LEFT, _LEFT_WIDTH, _SEALING)
    _detour(picture, hops[3], _column(picture, _RIGHT, _RIGHT_WIDTH, _NEW_KEY))
    return picture


def opening() -> Picture:
    """Draw how an envelope becomes a value."""
    title = "Opening: from an envelope to a value. A KMS is asked only where the record's key is not at hand."
    picture = _picture("opening", title, 664, "only where the record's key is not at hand")
    hops = _column(picture, _LEFT, _LEFT_WIDTH, _OPENING)
    _detour(picture, hops[5], _column(picture, _RIGHT, _RIGHT_WIDTH, _UNKNOWN_RECORD))
    return picture
