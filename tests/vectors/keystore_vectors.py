"""Vectors whose reader has a keystore: envelopes that open by their rows, and such as their rows do not help."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.vectors.good_vectors import BASE, DIRECT, SHARED, WRONG, Entry, entry, good, notation
from tests.vectors.lax_row import Row, row_head, row_key, write
from tests.vectors.lax_writer import AWS, AWS_KEY, FILE, GCP, VAULT, Draft, Recipient, filler, kms, seal

GCP_ONLY = {"prod": [GCP.key_id.decode()]}
AWS_ONLY = {"prod": [AWS_KEY.decode()]}
VAULT_ONLY = {"prod": [VAULT.key_id.decode()]}
MOVED = Row(BASE, verified=(AWS, GCP))


def accepted() -> list[Entry]:
    """The worker's master key is AWS. The row's GCP came later."""
    refused = Recipient(VAULT.key_id, b"vault:v1:" + b"QUJD" * 21, b"1", secret=b"")
    again = BASE.but(recipients=(refused,))
    both = {"prod": [VAULT.key_id.decode(), GCP.key_id.decode()]}
    return [
        _good(
            "keystore-moved",
            "None of its recipients is configured; its row has one that is.",
            BASE,
            MOVED,
            configured=GCP_ONLY,
        ),
        _good("keystore-shared", "The same of purpose 3.", SHARED, MOVED.but(record=SHARED), configured=GCP_ONLY),
        _good(
            "keystore-imported",
            "The one that is configured was imported.",
            BASE,
            Row(BASE, verified=(AWS,), imported=(GCP,)),
            configured=GCP_ONLY,
        ),
        _good(
            "keystore-refused",
            "The KMS refuses its own recipient.",
            again,
            Row(again, verified=(refused, GCP)),
            configured=both,
        ),
        _good(
            "keystore-next-version",
            "The KMS refuses its own recipient, and opens that of the same master key's next version.",
            again,
            Row(again, verified=(VAULT,)),
            configured=VAULT_ONLY,
        ),
        _good(
            "keystore-own-serves",
            "Its own recipient serves; what the keystore has of it is no row.",
            BASE,
            MOVED.but(tail=b"\x00"),
            configured=AWS_ONLY,
        ),
        {
            "after": "keystore-moved",
            **_good(
                "keystore-warm-spelling",
                "Its recipient is nobody's; its row has one that is configured. The key is at hand.",
                BASE.but(recipients=(FILE,)),
                MOVED,
                configured=GCP_ONLY,
            ),
        },
    ]


def refused() -> list[Entry]:
    wrong = replace(GCP, secret=WRONG)
    dev = {"prod": [VAULT.key_id.decode()], "dev": [GCP.key_id.decode()]}
    return [
        _bad(
            "keystore-not-configured",
            "Neither its own recipient nor one of its row is configured.",
            BASE,
            MOVED,
            configured=VAULT_ONLY,
        ),
        _bad(
            "keystore-other-namespace",
            "The row's recipient is configured for another namespace than the record's.",
            BASE,
            MOVED,
            configured=dev,
            namespace="prod",
        ),
        _bad(
            "keystore-other-head",
            "What the keystore has under its key is of a record that says it is younger.",
            BASE,
            MOVED.but(head=row_head(Row(BASE.but(created=BASE.created + 1))), key=row_key(MOVED)),
            configured=GCP_ONLY,
        ),
        _bad(
            "keystore-malformed",
            "A byte follows the row: it is absent.",
            BASE,
            MOVED.but(tail=b"\x00"),
            configured=GCP_ONLY,
        ),
        _bad(
            "keystore-direct",
            "A data key has no row, whatever the keystore has.",
            DIRECT,
            MOVED.but(record=DIRECT),
            configured=GCP_ONLY,
        ),
        _bad(
            "keystore-wrong-secret",
            "The row's recipient unwraps to another secret.",
            BASE,
            Row(BASE, verified=(AWS, wrong)),
            "InvalidCiphertext",
            configured=GCP_ONLY,
        ),
        _bad(
            "keystore-refused-as-well",
            "The KMS refuses the row's recipient.",
            BASE,
            Row(BASE, verified=(Recipient(GCP.key_id, filler("refused", 114), b"3", secret=b""),)),
            "InvalidCiphertext",
            configured=GCP_ONLY,
        ),
        {
            "after": "wrapping-key",
            **_bad(
                "keystore-warm-not-configured",
                "The key is at hand. Its recipient is nobody's, and nor is one of its row.",
                BASE.but(recipients=(FILE,)),
                Row(BASE, verified=(GCP,)),
                configured=AWS_ONLY,
            ),
        },
    ]


def _good(name: str, comment: str, draft: Draft, row: Row, **reader: Any) -> Entry:
    return _with_row(good(name, comment, draft, **reader), row)


def _bad(name: str, comment: str, draft: Draft, row: Row, expect: str = "KeyNotConfigured", **reader: Any) -> Entry:
    return _with_row(entry(name, comment, seal(draft), expect, **reader), row)


def _with_row(vector: Entry, row: Row) -> Entry:
    """The vector with the row in its reader's keystore, and with what KMSs say of the row's recipients."""
    for recipient in (*row.verified, *row.imported):
        for one in kms(row.record.but(recipients=(recipient,))):
            written = {key: notation(value) if isinstance(value, bytes) else value for key, value in one.items()}
            if written not in vector["kms"]:
                vector["kms"].append(written)
    return {**vector, "keystore": [{"key": row_key(row).hex(), "row": notation(write(row))}]}
