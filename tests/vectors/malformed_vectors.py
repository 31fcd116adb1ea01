"""Vectors that are no valid envelopes: each breaks one rule and is consistent otherwise.

A reader that forgot the rule opens them, except where there is nothing left to open.
"""

from __future__ import annotations

from dataclasses import replace

from tests.vectors.good_vectors import (
    BASE,
    DIRECT,
    NAMESPACE,
    SHARED,
    TWO,
    Entry,
    context,
    entry,
    longest_context,
    longest_record,
    many_entries,
)
from tests.vectors.lax_writer import AWS, AWS_KEY, GCP, VAULT, Draft, Recipient, Sealed, head, record, seal

MALFORMED = "MalformedEnvelope"
_DATA_KEY = seal(BASE).metadata["encryption-data-key"]


def metadata_rules() -> list[Entry]:
    def refused(name: str, comment: str, draft: Draft) -> Entry:
        return entry(name, comment, seal(draft), MALFORMED)

    def without(name: str, comment: str, left_out: str, draft: Draft = BASE) -> Entry:
        return refused(name, comment, draft.but(left_out=left_out))

    return [
        refused("later-version", "Version 2 is never passed through.", BASE.but(encoding=b"binary/envelope-v2")),
        refused(
            "encoding-version-10", "A prefix of the encoding is not enough.", BASE.but(encoding=b"binary/envelope-v10")
        ),
        refused(
            "encoding-no-version",
            "An encoding with no version after the prefix.",
            BASE.but(encoding=b"binary/envelope-"),
        ),
        refused(
            "encoding-version-space",
            "An encoding with a space at its end is not version 1.",
            BASE.but(encoding=b"binary/envelope-v1 "),
        ),
        refused("encoding-changed-json", "An envelope does not pass as JSON.", BASE.but(encoding=b"json/plain")),
        refused(
            "encoding-changed-other-codec",
            "An envelope does not pass as another codec's payload.",
            BASE.but(encoding=b"binary/encrypted"),
        ),
        refused(
            "encoding-changed-case", "An encoding is compared byte for byte.", BASE.but(encoding=b"binary/Envelope-v1")
        ),
        refused("encoding-empty", "The encoding is empty.", BASE.but(encoding=b"")),
        without("encoding-missing", "The encoding was taken away.", "encoding"),
        without("key-id-missing", "No encryption-key-id.", "encryption-key-id"),
        without("wrapped-key-missing", "No encryption-wrapped-key.", "encryption-wrapped-key"),
        without(
            "wrapped-key-missing-direct",
            "Direct mode without encryption-wrapped-key.",
            "encryption-wrapped-key",
            DIRECT,
        ),
        refused(
            "unknown-name",
            "An unknown name that starts with encryption-.",
            BASE.but(extra=(("encryption-mode", b"x"),)),
        ),
        refused(
            "unknown-name-bare",
            "The bare prefix encryption- is an unknown name as well.",
            BASE.but(extra=(("encryption-", b"x"),)),
        ),
        refused(
            "outer-padding",
            "encryption-padding is reserved for inner metadata.",
            BASE.but(extra=(("encryption-padding", b"x"),)),
        ),
        refused("data-key-in-direct", "Purpose 2 with encryption-data-key.", DIRECT.but(with_data_key=True)),
        entry(
            "data-key-empty-in-direct",
            "Purpose 2 with an empty encryption-data-key.",
            seal(DIRECT).but(encryption_data_key=b""),
            MALFORMED,
        ),
        refused("data-key-missing", "Purpose 1 without encryption-data-key.", BASE.but(with_data_key=False)),
        refused("data-key-missing-shared", "Purpose 3 without encryption-data-key.", SHARED.but(with_data_key=False)),
        refused("data-key-32", "A data key of 24 bytes, wrapped: 32.", BASE.but(data_key=bytes(range(24)))),
        refused("data-key-48", "A data key of 40 bytes, wrapped: 48.", BASE.but(data_key=bytes(range(40)))),
        _with_data_key("data-key-39", "encryption-data-key is a byte short.", _DATA_KEY[:39]),
        _with_data_key("data-key-41", "encryption-data-key is a byte long.", _DATA_KEY + b"\x00"),
        refused("key-id-empty", "encryption-key-id is empty.", BASE.but(key_id=b"")),
        refused("key-id-not-utf8", "encryption-key-id is not UTF-8.", BASE.but(key_id=b"localfile://\xff")),
        entry(
            "data-59",
            "data is 59 bytes, one less than commitment, nonce and tag.",
            _cut(seal(BASE.but(inner=b""))),
            MALFORMED,
        ),
        entry("data-empty", "No data.", replace(seal(BASE.but(inner=b"")), data=b""), MALFORMED),
        entry(
            "encoding-changed-empty-record",
            "Another encoding beside an encryption-wrapped-key that is empty.",
            seal(BASE.but(encoding=b"json/plain")).but(encryption_wrapped_key=b""),
            MALFORMED,
        ),
    ]


def record_rules() -> list[Entry]:
    def refused(name: str, comment: str, draft: Draft) -> Entry:
        return entry(name, comment, seal(draft), MALFORMED)

    def named(name: bytes, value: bytes = b"v") -> Draft:
        return BASE.but(context=context((name, value)))

    second = (b"tenant", b"t1")
    return [
        refused("record-version-0", "The record's version byte is 0.", BASE.but(version=0)),
        refused("record-version-2", "The record's version byte is 2.", BASE.but(version=2)),
        refused("purpose-0", "Purpose 0.", BASE.but(purpose=0)),
        refused("purpose-4", "Purpose 4.", BASE.but(purpose=4)),
        refused("context-none", "No context, and so no namespace.", BASE.but(context=())),
        refused("namespace-missing", "A context without temporal-namespace.", BASE.but(context=(second,))),
        refused(
            "namespace-case",
            "Temporal-Namespace is another name.",
            BASE.but(context=((b"Temporal-Namespace", b"prod"),)),
        ),
        refused("namespace-empty", "The namespace is empty.", BASE.but(context=((NAMESPACE[0], b""),))),
        refused("context-unsorted", "Names do not ascend.", BASE.but(context=(second, NAMESPACE))),
        refused("context-twice", "A name comes twice.", BASE.but(context=(NAMESPACE, NAMESPACE))),
        refused(
            "context-utf16-order",
            "Names ascend by UTF-16 units, not by bytes.",
            BASE.but(context=(NAMESPACE, ("\U0001f511".encode(), b"1"), ("\uff5e".encode(), b"2"))),
        ),
        refused(
            "context-folded-order",
            "Names ascend only if case is ignored.",
            BASE.but(context=((b"area", b"1"), (b"Belt", b"2"), NAMESPACE)),
        ),
        refused(
            "context-namespace-twice-in-case",
            "Two names differ only in case: a KMS that ignores case in its rules could take one for the other.",
            BASE.but(context=((b"Temporal-Namespace", b"dev"), NAMESPACE)),
        ),
        refused("context-aws-case", "A reserved prefix in other case.", named(b"AWS:tenant")),
        refused("context-own-case", "The other reserved prefix in other case.", named(b"Envelope-Codec:id")),
        refused("context-empty-name", "An empty name.", named(b"")),
        refused("context-empty-value", "An empty value.", named(b"tenant", b"")),
        refused("context-name-not-utf8", "A name with a byte that UTF-8 never has.", named(b"tenant\xff")),
        refused("context-value-not-utf8", "A value that ends within a character.", named(b"tenant", b"t\xc3")),
        refused("context-value-surrogate", "A value with a surrogate in it.", named(b"tenant", b"\xed\xa0\x80")),
        refused("context-value-overlong", "A value with an overlong slash.", named(b"tenant", b"\xc0\xaf")),
        refused("context-aws-name", "A name that starts with aws:.", named(b"aws:tenant")),
        refused("context-aws-bare", "The bare prefix aws:.", named(b"aws:")),
        refused("context-own-name", "A name that starts with envelope-codec:.", named(b"envelope-codec:tenant")),
        refused(
            "context-own-id", "A context that brings its own envelope-codec:id.", named(b"envelope-codec:id", b"00")
        ),
        refused("recipients-none", "No recipient.", BASE.but(recipients=(), key_id=AWS_KEY)),
        refused(
            "recipient-twice",
            "Two recipients have one key id.",
            TWO.but(recipients=(AWS, GCP, replace(VAULT, key_id=GCP.key_id))),
        ),
        refused(
            "recipient-twice-first",
            "The second recipient's key id is encryption-key-id.",
            BASE.but(recipients=(AWS, replace(GCP, key_id=AWS.key_id))),
        ),
        refused(
            "recipient-spelled",
            "The first key id is spelled out.",
            BASE.but(recipients=(replace(AWS, spelled=AWS.key_id),)),
        ),
        refused(
            "recipient-spelled-other",
            "The first key id is spelled out and is not encryption-key-id.",
            BASE.but(recipients=(replace(AWS, spelled=GCP.key_id),)),
        ),
        refused(
            "recipient-unnamed", "The second key id is empty.", BASE.but(recipients=(AWS, replace(GCP, spelled=b"")))
        ),
        refused("recipient-empty", "An empty ciphertext.", BASE.but(recipients=(replace(AWS, ciphertext=b""),))),
        refused(
            "recipient-empty-second",
            "An empty ciphertext in the second recipient.",
            BASE.but(recipients=(AWS, replace(GCP, ciphertext=b""))),
        ),
        refused(
            "recipient-key-id-not-utf8",
            "A key id that is not UTF-8.",
            BASE.but(recipients=(AWS, replace(GCP, key_id=b"k\xff"))),
        ),
        refused(
            "recipient-version-not-utf8",
            "A key version that is not UTF-8.",
            BASE.but(recipients=(replace(AWS, key_version=b"\x80"),)),
        ),
        refused("trailing-byte", "A byte after the last recipient.", BASE.but(tail=b"\x00")),
        refused("trailing-recipient", "More recipients than the count says.", BASE.but(tail=_recipient(GCP))),
        *(
            entry(
                f"record-truncated-{name}",
                f"The record ends {where}.",
                _with_record(BASE, record(BASE)[:size]),
                MALFORMED,
            )
            for name, where, size in (
                ("empty", "before its version", 0),
                ("created", "within created", 5),
                ("head", "after created", 10),
                ("context", "within a context entry", 20),
                ("id", "within its id", len(head(BASE)) + 31),
                ("count", "after its id", len(head(BASE)) + 32),
                ("recipient", "within the recipient's length", len(head(BASE)) + 34),
                ("last", "a byte early", len(record(BASE)) - 1),
            )
        ),
        refused(
            "context-case-apart",
            "Two names that differ only in case have another between them.",
            BASE.but(context=context((b"A", b"1"), (b"B", b"2"), (b"a", b"3"))),
        ),
        entry(
            "record-length-past-end",
            "A context entry is longer than the record.",
            _with_record(BASE, record(BASE)[:11] + b"\xff\xff" + record(BASE)[13:]),
            MALFORMED,
        ),
    ]


def bounds() -> list[Entry]:
    def refused(name: str, comment: str, draft: Draft) -> Entry:
        return entry(name, comment, seal(draft), MALFORMED)

    nine = tuple(Recipient(f"localfile://{number:032x}".encode(), bytes([number + 1]) * 60) for number in range(9))
    return [
        refused("bound-context-name", "A name of 129 bytes.", BASE.but(context=context((b"n" * 129, b"v")))),
        refused("bound-context-value", "A value of 4,001 bytes.", BASE.but(context=context((b"n", b"v" * 4001)))),
        refused("bound-context-total", "Names and values of 6,001 bytes.", BASE.but(context=longest_context(6001))),
        refused("bound-context-count", "254 entries.", BASE.but(context=many_entries(254))),
        refused("bound-context-count-255", "255 entries.", BASE.but(context=many_entries(255))),
        refused(
            "bound-first-key-id",
            "encryption-key-id of 513 bytes.",
            BASE.but(recipients=(replace(AWS, key_id=b"k" * 513),)),
        ),
        refused("bound-key-id", "A key id of 513 bytes.", BASE.but(recipients=(AWS, replace(GCP, key_id=b"k" * 513)))),
        refused(
            "bound-key-version",
            "A key version of 257 bytes.",
            BASE.but(recipients=(replace(AWS, key_version=b"1" * 257),)),
        ),
        refused(
            "bound-ciphertext",
            "A ciphertext of 4,097 bytes.",
            BASE.but(recipients=(replace(AWS, ciphertext=b"\xc1" * 4097),)),
        ),
        refused("bound-recipients", "Nine recipients.", BASE.but(recipients=nine)),
        refused("bound-record", "A record of 16,385 bytes.", longest_record(16_385)),
    ]


def _cut(sealed: Sealed) -> Sealed:
    return replace(sealed, data=sealed.data[:-1])


def _with_data_key(name: str, comment: str, data_key: bytes) -> Entry:
    return entry(name, comment, seal(BASE).but(encryption_data_key=data_key), MALFORMED, base="wrapping-key")


def _recipient(one: Recipient) -> bytes:
    fields = (one.key_id, one.key_version, one.ciphertext)
    return b"".join(len(value).to_bytes(2, "big") + value for value in fields)


def _with_record(draft: Draft, changed_record: bytes) -> Sealed:
    return seal(draft).but(encryption_wrapped_key=changed_record)
