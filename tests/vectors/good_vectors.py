"""The good vectors, and how a vector is written to a file."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tests.vectors import worked_example
from tests.vectors.lax_writer import (
    AWS,
    AWS_KEY,
    FILE,
    GCP,
    VAULT,
    Draft,
    Recipient,
    Sealed,
    filler,
    parts,
    payload,
    seal,
)
from tests.vectors.lax_writer import with_zero_ciphertext as zero_ciphertext

Entry = dict[str, Any]
NAMESPACE = (b"temporal-namespace", b"prod")
JSON = {"encoding": b"json/plain"}
HELLO = payload(JSON, b'"hello"')
BASE = Draft(inner=HELLO)
DIRECT = BASE.but(purpose=2)
SHARED = BASE.but(purpose=3)
TWO = BASE.but(recipients=(AWS, GCP))
OTHER_REGIONS = (b"us-east-2", b"us-west-1", b"us-west-2", b"eu-central-1")
REPLICAS = [Recipient(AWS_KEY.replace(b"us-east-1", name), filler(name.decode(), 184)) for name in OTHER_REGIONS]
EIGHT = BASE.but(recipients=(AWS, GCP, VAULT, FILE, *REPLICAS))
WRONG = filler("not the secret", 32)


def entry(
    name: str,
    comment: str,
    sealed: Sealed,
    expect: str,
    *,
    namespace: str | None = None,
    configured: dict[str, list[str]] | None = None,
    base: str | None = None,
    max_payload: int | None = None,
) -> Entry:
    """One vector as it stands in its file. ``configured`` None: all that its KMS knows, for ``prod``."""
    key_ids = [sealed.metadata.get("encryption-key-id", b"").decode(errors="ignore")]
    key_ids += [str(one["key_id"]) for one in sealed.kms if one["key_id"] not in key_ids]
    found: Entry = {"name": name, "comment": comment, "expect": expect}
    if base is not None:
        found["base"] = base
    if namespace is not None:
        found["namespace"] = namespace
    if max_payload is not None:
        found["max_payload"] = max_payload
    found["configured"] = {"prod": [key_id for key_id in key_ids if key_id]} if configured is None else configured
    found["kms"] = [
        {key: notation(value) if isinstance(value, bytes) else value for key, value in one.items()}
        for one in sealed.kms
    ]
    found["metadata"] = {key: notation(value) for key, value in sorted(sealed.metadata.items())}
    found["data"] = notation(sealed.data)
    return found


def notation(value: bytes) -> Any:
    """Hex, with runs of one byte written as repetitions."""
    pieces: list[Any] = []
    at = 0
    for run in re.finditer(rb"(.)\1{63,}", value, re.DOTALL):
        pieces += [value[at : run.start()].hex(), {"repeat": run[1].hex(), "count": len(run[0])}]
        at = run.end()
    pieces = [piece for piece in [*pieces, value[at:].hex()] if piece != ""]
    return pieces[0] if len(pieces) == 1 else pieces or ""


def good(
    name: str,
    comment: str,
    draft: Draft,
    entries: dict[str, bytes] | None = None,
    data: bytes = b'"hello"',
    **reader: Any,
) -> Entry:
    """A vector that opens. ``entries`` and ``data`` are the Payload that the reader hands over."""
    found = entry(name, comment, seal(draft), "ok", **reader)
    found["inner"] = _long(draft.inner)
    found["payload"] = {
        "metadata": {key: notation(value) for key, value in sorted((JSON if entries is None else entries).items())},
        "data": _long(data),
    }
    return found


def _long(value: bytes) -> Any:
    if len(value) <= 4096:
        return notation(value)
    return {"sha256": hashlib.sha256(value).hexdigest(), "length": len(value)}


def context(*entries: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Context entries in the record's order, the namespace among them."""
    return tuple(sorted((NAMESPACE, *entries)))


def longest_context(total: int = 6000) -> tuple[tuple[bytes, bytes], ...]:
    """A context whose names and values together are ``total`` bytes, none of them over its own bound."""
    rest = total - len(b"".join(NAMESPACE)) - len(b"ab") - 4000
    return context((b"a", b"v" * 4000), (b"b", b"w" * rest))


def many_entries(count: int) -> tuple[tuple[bytes, bytes], ...]:
    return context(*((f"n{number:03d}".encode(), b"v") for number in range(count - 1)))


def longest_record(size: int = 16_384) -> Draft:
    """A draft whose record is ``size`` bytes, with every field of it inside its own bound."""
    keys = (AWS, GCP, VAULT, FILE)
    draft = BASE.but(
        context=longest_context(),
        recipients=tuple(Recipient(one.key_id, bytes([number]) * 1024) for number, one in enumerate(keys, start=0xC1)),
    )
    missing = size - sum(len(part) for _, part in parts(draft))
    first, second, *others = draft.recipients
    half = missing // 2
    grown = (
        Recipient(first.key_id, first.ciphertext + b"\xd1" * half),
        Recipient(second.key_id, second.ciphertext + b"\xd2" * (missing - half)),
    )
    return draft.but(recipients=(*grown, *others))


def modes() -> list[Entry]:
    return [
        good("worked-example", "The worked example of SPEC.md.", worked_example.draft()),
        good("wrapping-key", "A data key under a wrapping key, one recipient.", BASE),
        good("direct", "Direct mode: the KMS wraps the data key itself, and there is no encryption-data-key.", DIRECT),
        good("shared-wrapping-key", "A wrapping key that several writers share.", SHARED),
        good(
            "created-max",
            "The reader compares `created` with no clock: the largest value opens.",
            BASE.but(created=2**64 - 1),
        ),
        good("created-0", "The reader compares `created` with no clock: 0 opens.", BASE.but(created=0)),
        good(
            "unbound-metadata",
            "Metadata with other names is neither bound nor handed on.",
            BASE.but(extra=(("__temporal_driver", b"s3"), ("messageType", b"acme.Order"), ("note", b""))),
        ),
        good("namespace-matches", "The reader knows its namespace, and it is the record's.", BASE, namespace="prod"),
        good(
            "unbound-metadata-case",
            "Encryption- in other case is an ordinary name, neither bound nor handed on.",
            BASE.but(extra=(("Encryption-x", b"1"), ("ENCRYPTION-KEY-ID", b"other"))),
        ),
    ]


def recipients() -> list[Entry]:
    gcp_only = {"prod": [GCP.key_id.decode()]}
    wrong_first = TWO.but(recipients=(Recipient(AWS.key_id, AWS.ciphertext, secret=WRONG), GCP))
    short_first = TWO.but(recipients=(Recipient(AWS.key_id, AWS.ciphertext, secret=WRONG[:31]), GCP))
    refused_first = TWO.but(recipients=(Recipient(AWS.key_id, AWS.ciphertext, secret=b""), GCP))
    longest = Recipient(b"hashivault://" + b"k" * 499, b"\xc1" * 4096, b"v" * 256)
    versions = (Recipient(AWS.key_id, AWS.ciphertext, b"9"), GCP, VAULT)
    return [
        good("two-recipients", "Either of two master keys opens it; the first serves.", TWO),
        good("two-recipients-direct", "Direct mode with two recipients.", TWO.but(purpose=2)),
        good("eight-recipients", "As many recipients as a record may have.", EIGHT),
        good(
            "second-recipient-configured",
            "The first recipient is not configured, the second serves.",
            TWO,
            configured=gcp_only,
        ),
        good("falls-to-next-wrong-secret", "The first recipient unwraps to another secret.", wrong_first),
        good("falls-to-next-short-secret", "The first recipient unwraps to 31 bytes.", short_first),
        good("falls-to-next-refused", "The KMS of the first recipient can't decrypt its ciphertext.", refused_first),
        good(
            "key-versions",
            "Key versions are recorded; the reader hands them to the KMS.",
            BASE.but(recipients=versions),
        ),
        good(
            "longest-recipient",
            "Key id of 512, key version of 256 and ciphertext of 4,096 bytes.",
            BASE.but(recipients=(longest,)),
        ),
        good(
            "longest-other-key-id",
            "The key id of a recipient that is not the first is 512 bytes long.",
            BASE.but(recipients=(AWS, longest)),
        ),
        good("longest-record", "A record of 16,384 bytes.", longest_record()),
        good("short-ciphertext", "A ciphertext of one byte.", BASE.but(recipients=(Recipient(AWS_KEY, b"\x01"),))),
    ]


def contexts() -> list[Entry]:
    unicode_context = context(
        ("\uff5e".encode(), b"U+FF5E comes before U+1F511 in bytes, after it in UTF-16"),
        ("\U0001f511".encode(), b"key"),
        (b"city", "Z\u00fcrich \u6771\u4eac \U0001f680".encode()),
        (b"composed", "\u00e9".encode()),
        (b"decomposed", "e\u0301".encode()),
    )
    quoting = context((b'quote"', b'a=b&c="d"\\\n\t'), (b"tab\t", b" "))
    return [
        good(
            "extra-context",
            "Two entries beside the namespace.",
            BASE.but(context=context((b"tenant", b"t1"), (b"a", b"1"))),
        ),
        good(
            "extra-context-direct",
            "Direct mode with an entry beside the namespace.",
            DIRECT.but(context=context((b"tenant", b"t1"))),
        ),
        good("context-longest", "Names and values of 6,000 bytes together.", BASE.but(context=longest_context())),
        good("context-longest-name", "A name of 128 bytes.", BASE.but(context=context((b"n" * 128, b"v")))),
        good("context-longest-value", "A value of 4,000 bytes.", BASE.but(context=context((b"n", b"v" * 4000)))),
        good("context-most-entries", "253 entries.", BASE.but(context=many_entries(253))),
        good("context-unicode", "Names ascend by bytes; values are not normalized.", BASE.but(context=unicode_context)),
        good("context-quoting", "Quotes, controls and spaces mean nothing.", BASE.but(context=quoting)),
        good(
            "context-case",
            "Upper case comes before lower case.",
            BASE.but(context=context((b"Zone", b"1"), (b"area", b"2"))),
        ),
        good(
            "context-near-reserved",
            "Names that only look like the reserved ones.",
            BASE.but(context=context((b"aws", b"1"), (b"envelope-codec", b"2"))),
        ),
        good(
            "namespace-unicode",
            "A namespace that is not ASCII, compared byte for byte.",
            BASE.but(context=((b"temporal-namespace", "pr\u00f6d".encode()),)),
            namespace="pr\u00f6d",
            configured={"pr\u00f6d": [AWS_KEY.decode()]},
        ),
        good(
            "context-case-not-ascii",
            "Two names differ in the case of a letter that is not A-Z: two names.",
            BASE.but(context=context(("\u00c9".encode(), b"1"), ("\u00e9".encode(), b"2"))),
        ),
        good(
            "context-not-normalized",
            "One name composed and decomposed: two names.",
            BASE.but(context=context(("e\u0301".encode(), b"1"), ("\u00e9".encode(), b"2"))),
        ),
        good(
            "context-unusual-characters",
            "NUL, a leading byte order mark and the noncharacter U+FFFF are characters like any other.",
            BASE.but(
                context=context(
                    (b"\x00", b"\x00"),
                    (b"nul\x00inside", b"a\x00b"),
                    ("\ufeffmark".encode(), "\ufeffmark".encode()),
                    ("\uffff".encode(), "\uffff".encode()),
                )
            ),
        ),
        good(
            "namespace-unusual",
            "A namespace with a leading byte order mark, compared byte for byte.",
            BASE.but(context=((b"temporal-namespace", "\ufeffprod".encode()),)),
            namespace="\ufeffprod",
            configured={"\ufeffprod": [AWS_KEY.decode()]},
        ),
    ]


def payloads() -> list[Entry]:
    many = {f"name-{number:02d}": bytes([number]) * (number + 1) for number in range(60)} | {"empty": b""}
    padded = {**JSON, "encryption-padding": bytes(100)}
    foreign = {"encoding": b"binary/encrypted", "encryption-key-id": b"test", "encryption-cipher": b"AES-GCM"}
    every_byte = bytes(range(256)) * 2
    large = zero_ciphertext(BASE, b"binary/plain", 2**20 + 1)
    large_direct = zero_ciphertext(DIRECT, b"binary/plain", 2**21)
    nested = seal(BASE)
    backwards = b"\x12\x07" + b'"hello"' + payload(JSON, b"")
    return [
        good(
            "payload-empty", "The empty Payload serializes to nothing: data is 60 bytes.", BASE.but(inner=b""), {}, b""
        ),
        good(
            "payload-empty-data",
            "Metadata without data, as the SDK writes None.",
            BASE.but(inner=payload({"encoding": b"binary/null"}, b"")),
            {"encoding": b"binary/null"},
            b"",
        ),
        good("payload-no-metadata", "Data without metadata.", BASE.but(inner=payload({}, b"x")), {}, b"x"),
        good(
            "payload-binary",
            "Every byte value twice.",
            BASE.but(inner=payload({"encoding": b"binary/plain"}, every_byte)),
            {"encoding": b"binary/plain"},
            every_byte,
        ),
        good(
            "payload-large",
            "1 MiB and one byte; the data is such that its ciphertext is zeros.",
            large,
            {"encoding": b"binary/plain"},
            large.inner[-(2**20 + 1) :],
        ),
        good(
            "payload-large-direct",
            "2 MiB in direct mode; the data is such that its ciphertext is zeros.",
            large_direct,
            {"encoding": b"binary/plain"},
            large_direct.inner[-(2**21) :],
        ),
        good("payload-many-metadata", "61 inner metadata entries.", BASE.but(inner=payload(many, b"x")), many, b"x"),
        good("payload-padding", "An inner encryption-padding is dropped.", BASE.but(inner=payload(padded, b'"hello"'))),
        good(
            "payload-foreign-encryption",
            "Inner metadata of another codec is left alone.",
            BASE.but(inner=payload(foreign, b"\x00\x01")),
            foreign,
            b"\x00\x01",
        ),
        good(
            "payload-nested",
            "The inner Payload is an envelope itself: one layer is taken off.",
            BASE.but(inner=payload(nested.metadata, nested.data)),
            nested.metadata,
            nested.data,
        ),
        good("payload-field-order", "An inner Payload with data before metadata.", BASE.but(inner=backwards)),
        good(
            "payload-metadata-twice",
            "A metadata name comes twice in the inner Payload: the last one counts.",
            BASE.but(inner=payload({"encoding": b"binary/null"}, b"") + HELLO),
        ),
        good(
            "payload-data-twice",
            "data comes twice in the inner Payload: the last one counts.",
            BASE.but(inner=payload(JSON, b'"first"') + payload({}, b'"hello"')),
        ),
        good(
            "payload-metadata-no-name",
            "An entry without a name in the inner Payload has the empty name.",
            BASE.but(inner=b"\x0a\x03\x12\x01v" + HELLO),
            {**JSON, "": b"v"},
        ),
        good(
            "payload-padding-twice",
            "An inner encryption-padding that comes twice is dropped.",
            BASE.but(inner=payload({"encryption-padding": b"1"}, b"") + payload(padded, b'"hello"')),
        ),
        good(
            "payload-unknown-field",
            "A field of a later Payload in the inner one is no error.",
            BASE.but(inner=HELLO + b"\x7a\x01x"),
        ),
    ]


def untouched() -> list[Entry]:
    """Payloads that are no envelopes."""
    samples = {
        "other-encoding": ("An ordinary payload.", dict(JSON), b'"hello"'),
        "no-encoding": ("A payload without any metadata.", {}, b"x"),
        "empty-encoding": ("An empty encoding.", {"encoding": b""}, b"x"),
        "other-codec": (
            "The encryption codec of Temporal's samples, which has metadata named encryption- as well.",
            {"encoding": b"binary/encrypted", "encryption-key-id": b"test"},
            filler("other codec", 60),
        ),
        "near-encoding": ("The prefix is binary/envelope- with its hyphen.", {"encoding": b"binary/envelope"}, b"x"),
    }
    return [
        entry(f"untouched-{name}", comment, Sealed(found, data), "untouched", configured={})
        for name, (comment, found, data) in samples.items()
    ]
