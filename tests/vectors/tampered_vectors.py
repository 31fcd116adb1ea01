"""Vectors that are well-formed and must not open.

Those with a ``base`` were that good vector, and one value was changed after sealing.
"""

from __future__ import annotations

from dataclasses import replace

from tests.vectors.good_vectors import BASE, DIRECT, HELLO, NAMESPACE, SHARED, TWO, WRONG, Entry, context, entry
from tests.vectors.lax_writer import (
    AWS,
    AWS_KEY,
    FILE,
    GCP,
    VAULT,
    Draft,
    Sealed,
    filler,
    head,
    kms,
    parts,
    record,
    record_keys,
    seal,
)

INVALID = "InvalidCiphertext"
OTHER = BASE.but(secret=filler("another secret", 32), data_key=filler("another data key", 32))


def changed() -> list[Entry]:
    start = len(head(BASE))
    sizes = {name: len(part) for name, part in parts(BASE)}
    ciphertext_at = start + 32 + 1 + sizes["key id 0"] + sizes["key version 0"] + 2
    versioned = BASE.but(recipients=(replace(AWS, key_version=b"1"),))
    encrypted = len(seal(BASE).data)
    return [
        _flipped_data("flipped-commitment", "A bit of the commitment is flipped.", 0),
        _flipped_data("flipped-commitment-end", "The last bit of the commitment is flipped.", 31, 0x01),
        _flipped_data("flipped-nonce", "A bit of the nonce is flipped.", 32),
        _flipped_data("flipped-ciphertext", "A bit of the ciphertext is flipped.", 44),
        _flipped_data("flipped-tag", "The last bit of the tag is flipped.", encrypted - 1, 0x01),
        entry(
            "data-cut",
            "The last byte of data is missing.",
            replace(seal(BASE), data=seal(BASE).data[:-1]),
            INVALID,
            base="wrapping-key",
        ),
        entry(
            "data-extended",
            "A byte was added to data.",
            replace(seal(BASE), data=seal(BASE).data + b"\x00"),
            INVALID,
            base="wrapping-key",
        ),
        _flipped("flipped-data-key", "A bit of encryption-data-key is flipped.", "encryption-data-key", 0, 0x80),
        _flipped(
            "flipped-data-key-end", "The last bit of encryption-data-key is flipped.", "encryption-data-key", 39, 0x01
        ),
        _flipped("flipped-created", "A bit of created is flipped.", "encryption-wrapped-key", 9, 0x01),
        _flipped("flipped-id", "A bit of the id is flipped.", "encryption-wrapped-key", start, 0x80),
        _flipped(
            "flipped-recipient",
            "A bit of the recipient's ciphertext is flipped.",
            "encryption-wrapped-key",
            ciphertext_at,
            0x80,
        ),
        entry(
            "namespace-changed",
            "The namespace was changed; the KMS binds it.",
            _with_record(BASE, record(BASE.but(context=((NAMESPACE[0], b"prof"),), id=record_keys(BASE)[1]))),
            INVALID,
            base="wrapping-key",
            configured={"prod": [AWS_KEY.decode()], "prof": [AWS_KEY.decode()]},
        ),
        entry(
            "key-version-changed",
            "The key version was changed; the KMS does not look at it.",
            replace(seal(BASE).but(encryption_wrapped_key=record(versioned)), kms=[*kms(BASE), *kms(versioned)]),
            INVALID,
            base="wrapping-key",
        ),
        entry(
            "purpose-changed",
            "A wrapping key passed as a shared one; the KMS binds the purpose.",
            _with_record(BASE, record(BASE.but(purpose=3, id=record_keys(BASE)[1]))),
            INVALID,
            base="wrapping-key",
        ),
        *swapped(),
    ]


def ids() -> list[Entry]:
    """Records with the id of another head. All else agrees, and the KMS minds nothing: only the id tells."""

    def refused(name: str, comment: str, draft: Draft, to: Draft, namespace: str = "prod") -> Entry:
        forged = seal(to if to.id is not None else to.but(id=record_keys(draft)[1]))
        return entry(name, comment, forged, INVALID, configured={namespace: [AWS_KEY.decode()]})

    tenant = BASE.but(context=context((b"tenant", b"t1")))
    other_namespace = ((NAMESPACE[0], b"dev"),)
    own_id = record_keys(BASE)[1]
    return [
        refused("id-flipped-first", "The first bit of the id is flipped.", BASE, BASE.but(id=_flip(own_id, 0, 0x80))),
        refused("id-flipped-last", "The last bit of the id is flipped.", BASE, BASE.but(id=_flip(own_id, 31, 0x01))),
        refused("id-created", "The record was made a second younger.", BASE, BASE.but(created=BASE.created + 1)),
        refused(
            "id-namespace", "The record was moved to another namespace.", BASE, BASE.but(context=other_namespace), "dev"
        ),
        refused(
            "id-shifted-context",
            "tenant=t1 shifted to tenantt=1, for a KMS that joins names and values.",
            tenant,
            BASE.but(context=context((b"tenantt", b"1"))),
        ),
        refused("id-context-added", "A context entry was added.", BASE, tenant),
        refused("id-context-removed", "A context entry was taken away.", tenant, BASE),
        refused("id-wrapping-to-shared", "A wrapping key passed as a shared one.", BASE, SHARED),
        refused("id-shared-to-wrapping", "A shared wrapping key passed as a writer's own.", SHARED, BASE),
        refused("id-wrapping-to-direct", "A wrapping key's record moved to direct mode.", BASE, DIRECT),
        refused("id-direct-to-wrapping", "A direct mode's record passed as a wrapping key's.", DIRECT, BASE),
    ]


def swapped() -> list[Entry]:
    """Parts of other good envelopes put in."""
    base, sibling = seal(BASE), seal(BASE.but(data_key=OTHER.data_key, inner=HELLO.replace(b"hello", b"other")))
    other = seal(OTHER.but(recipients=(replace(AWS, ciphertext=filler("aws, another secret", 184)),)))
    both = replace(base, kms=[*base.kms, *other.kms])
    two = seal(TWO)
    second_key = TWO.but(recipients=(AWS, replace(VAULT, secret=None)))
    alias = AWS_KEY.replace(b"us-east-1", b"us-west-2")
    return [
        entry(
            "swapped-data-key",
            "The data key of another payload under the same record.",
            base.but(encryption_data_key=sibling.metadata["encryption-data-key"]),
            INVALID,
            base="wrapping-key",
        ),
        entry(
            "swapped-data",
            "The data of another payload under the same record.",
            replace(base, data=sibling.data),
            INVALID,
            base="wrapping-key",
        ),
        entry(
            "swapped-wrapped-key",
            "The record of another wrapping key under the same master key.",
            both.but(encryption_wrapped_key=other.metadata["encryption-wrapped-key"]),
            INVALID,
            base="wrapping-key",
        ),
        entry(
            "recipient-added",
            "A recipient that opens was added.",
            replace(two, metadata={**base.metadata, "encryption-wrapped-key": record(TWO)}, data=base.data),
            INVALID,
            base="wrapping-key",
        ),
        entry(
            "recipient-removed",
            "The second recipient was taken away.",
            two.but(encryption_wrapped_key=record(BASE)),
            INVALID,
            base="two-recipients",
        ),
        entry(
            "recipient-replaced",
            "The second recipient was replaced by another that opens.",
            replace(two, metadata={**two.metadata, "encryption-wrapped-key": record(second_key)}, kms=kms(second_key)),
            INVALID,
            base="two-recipients",
        ),
        entry(
            "key-id-replaced",
            "encryption-key-id was changed to a replica that opens the same ciphertext.",
            replace(base.but(encryption_key_id=alias), kms=[*base.kms, *kms(BASE.but(key_id=alias))]),
            INVALID,
            base="wrapping-key",
        ),
    ]


def keys() -> list[Entry]:
    """What the KMS gives back, and what was sealed under it."""

    def refused(name: str, comment: str, draft: Draft) -> Entry:
        return entry(name, comment, seal(draft), INVALID)

    wrong = replace(AWS, secret=WRONG)
    both_wrong = TWO.but(recipients=(wrong, replace(GCP, secret=filler("nor this", 32))))
    return [
        refused("secret-wrong", "The only recipient unwraps to another secret.", BASE.but(recipients=(wrong,))),
        refused(
            "secret-wrong-direct",
            "Direct mode: the only recipient unwraps to another secret.",
            DIRECT.but(recipients=(wrong,)),
        ),
        refused("secrets-all-wrong", "Two recipients unwrap to two other secrets.", both_wrong),
        refused("secret-31", "The secret is 31 bytes; the rest agrees with it.", BASE.but(secret=WRONG[:31])),
        refused("secret-33", "The secret is 33 bytes; the rest agrees with it.", BASE.but(secret=WRONG + b"\x00")),
        refused("secret-16-direct", "Direct mode, and the secret is 16 bytes.", DIRECT.but(secret=WRONG[:16])),
        refused(
            "secret-refused",
            "The KMS can't decrypt the only recipient's ciphertext.",
            BASE.but(recipients=(replace(AWS, secret=b""),)),
        ),
        entry(
            "second-wrong-first-not-configured",
            "The first recipient would open but is not configured; the second is corrupt.",
            seal(TWO.but(recipients=(AWS, replace(GCP, secret=WRONG)))),
            INVALID,
            configured={"prod": [GCP.key_id.decode()]},
        ),
        refused(
            "inner-no-payload", "What was sealed is no Payload: a length past its end.", BASE.but(inner=b"\x0a\x05\x01")
        ),
        refused("inner-garbage", "What was sealed is no protobuf.", BASE.but(inner=b"\xff" * 12)),
        refused("associated-data", "AES-GCM was given associated data.", BASE.but(associated_data=b"prod")),
        refused(
            "inner-name-not-utf8",
            "A metadata name in the inner Payload is not UTF-8.",
            BASE.but(inner=b"\x0a\x06\x0a\x01\xff\x12\x01v" + HELLO),
        ),
    ]


def configuration() -> list[Entry]:
    """Good envelopes in the wrong hands."""
    base, two = seal(BASE), seal(TWO)
    aws, gcp = AWS_KEY.decode(), GCP.key_id.decode()
    elsewhere = {"prod": [], "dev": [aws]}
    both = {"prod": [aws], "dev": [aws]}
    unconfigured, mismatch = "KeyNotConfigured", "ContextMismatch"

    def refused(name: str, comment: str, sealed: Sealed, expect: str, base: str, **reader: object) -> Entry:
        return entry(name, comment, sealed, expect, base=base, **reader)  # type: ignore[arg-type]

    return [
        refused(
            "key-not-configured",
            "Another master key is configured.",
            base,
            unconfigured,
            "wrapping-key",
            configured={"prod": [FILE.key_id.decode()]},
        ),
        refused(
            "key-of-other-namespace",
            "Its master key is configured for another namespace only.",
            base,
            unconfigured,
            "wrapping-key",
            configured=elsewhere,
        ),
        refused(
            "keys-of-other-namespace",
            "Both its master keys are configured for another namespace only.",
            two,
            unconfigured,
            "two-recipients",
            configured={"dev": [aws, gcp]},
        ),
        refused(
            "key-id-case",
            "Key ids are compared byte for byte.",
            base,
            unconfigured,
            "wrapping-key",
            configured={"prod": [aws.replace("abcd", "ABCD")]},
        ),
        refused(
            "key-id-prefix",
            "A part of a key id is not that key id.",
            base,
            unconfigured,
            "wrapping-key",
            configured={"prod": [aws[:-1], aws + "0"]},
        ),
        refused(
            "namespace-differs",
            "Sealed in prod, met in dev.",
            base,
            mismatch,
            "wrapping-key",
            namespace="dev",
            configured=both,
        ),
        refused(
            "namespace-differs-case",
            "Namespaces are compared byte for byte.",
            base,
            mismatch,
            "wrapping-key",
            namespace="Prod",
            configured={"prod": [aws], "Prod": [aws]},
        ),
        refused(
            "namespace-differs-direct",
            "Direct mode: sealed in prod, met in dev.",
            seal(DIRECT),
            mismatch,
            "direct",
            namespace="dev",
            configured=both,
        ),
    ]


def order() -> list[Entry]:
    """Two defects at once: the error is that of the rule that comes first."""
    unconfigured = {"dev": [AWS_KEY.decode()]}
    invalid = BASE.but(recipients=(replace(AWS, secret=WRONG),))

    def refused(name: str, comment: str, draft: Draft | Sealed, expect: str, **reader: object) -> Entry:
        sealed = seal(draft) if isinstance(draft, Draft) else draft
        return entry(name, comment, sealed, expect, **reader)  # type: ignore[arg-type]

    return [
        refused(
            "order-mismatch-before-not-configured",
            "Sealed in prod and met in dev, by a reader that has no key for prod.",
            BASE,
            "ContextMismatch",
            namespace="dev",
            configured=unconfigured,
        ),
        refused(
            "order-mismatch-before-invalid",
            "Sealed in prod and met in dev, and its only recipient is corrupt.",
            invalid,
            "ContextMismatch",
            namespace="dev",
            configured={"prod": [AWS_KEY.decode()]},
        ),
        refused(
            "order-malformed-before-mismatch",
            "A byte after the last recipient, and sealed for another namespace than the reader's.",
            BASE.but(tail=b"\x00"),
            "MalformedEnvelope",
            namespace="dev",
            configured={"prod": [AWS_KEY.decode()]},
        ),
        refused(
            "order-malformed-before-not-configured",
            "data is too short, and no master key is configured.",
            replace(seal(BASE), data=bytes(59)),
            "MalformedEnvelope",
            configured={},
        ),
        refused(
            "order-not-configured-before-invalid",
            "No master key is configured, and the commitment is another's.",
            replace(seal(BASE), data=bytes(32) + seal(BASE).data[32:]),
            "KeyNotConfigured",
            configured=unconfigured,
        ),
    ]


def warm() -> list[Entry]:
    """Met by a reader that has opened a good one of the same wrapping key a moment ago."""
    own_key, own_id = record_keys(BASE)
    both = {"prod": [AWS_KEY.decode()], "dev": [AWS_KEY.decode()]}

    def refused(name: str, comment: str, draft: Draft, expect: str, **reader: object) -> Entry:
        found = entry(name, comment, seal(draft), expect, **reader)  # type: ignore[arg-type]
        return {"after": "wrapping-key", **found}

    return [
        refused(
            "warm-not-configured",
            "Its only recipient is not the reader's; whoever sealed it has the wrapping key.",
            BASE.but(recipients=(GCP,)),
            "KeyNotConfigured",
            configured={"prod": [AWS_KEY.decode()]},
        ),
        refused(
            "warm-mismatch",
            "The same record, met in another namespace.",
            BASE,
            "ContextMismatch",
            namespace="dev",
            configured=both,
        ),
        refused(
            "warm-created",
            "Id and wrapping key of the record that was opened, in a record that says it is younger.",
            BASE.but(created=BASE.created + 1, id=own_id, key=own_key),
            INVALID,
        ),
        refused(
            "warm-namespace",
            "Id and wrapping key of the record that was opened, in a record of another namespace.",
            BASE.but(context=((NAMESPACE[0], b"dev"),), id=own_id, key=own_key),
            INVALID,
            configured=both,
        ),
    ]


def _flip(value: bytes, at: int, bits: int) -> bytes:
    return value[:at] + bytes([value[at] ^ bits]) + value[at + 1 :]


def _with_record(draft: Draft, changed_record: bytes) -> Sealed:
    return seal(draft).but(encryption_wrapped_key=changed_record)


def _flipped_data(name: str, comment: str, at: int, bits: int = 0x80) -> Entry:
    sealed = seal(BASE)
    return entry(name, comment, replace(sealed, data=_flip(sealed.data, at, bits)), INVALID, base="wrapping-key")


def _flipped(name: str, comment: str, key: str, at: int, bits: int) -> Entry:
    sealed = seal(BASE)
    flipped = {**sealed.metadata, key: _flip(sealed.metadata[key], at, bits)}
    return entry(name, comment, replace(sealed, metadata=flipped), INVALID, base="wrapping-key")
