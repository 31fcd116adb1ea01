"""Vectors of sharing: rows whose wrapping key a writer may adopt, and such as break one rule of adopting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from tests.vectors.good_vectors import NAMESPACE, SHARED, context, notation
from tests.vectors.lax_row import Row, row_head, row_id, row_key, tagged, write
from tests.vectors.lax_writer import (
    AWS,
    AWS_KEY,
    CREATED,
    FILE,
    GCP,
    VAULT,
    Draft,
    Recipient,
    derive,
    filler,
    head,
    record_keys,
)

Entry = dict[str, Any]

MAX_AGE = 86_400
NOW = CREATED + 3_600
TENANT = context((b"tenant", b"t1"))
FIRST, SECOND, THIRD = (SHARED.but(created=0, secret=filler(f"auth {number}", 32)) for number in range(3))
"""Authentication records: two that writers have the id of, and one that they have not."""

ROW = Row(SHARED, verified=(AWS, GCP))


@dataclass(frozen=True)
class Writer:
    """Who might adopt: what it binds and wraps by, its clock, and which authentication records it has the id of."""

    context: tuple[tuple[bytes, bytes], ...] = (NAMESPACE,)
    recipients: tuple[Recipient, ...] = (AWS, GCP)
    now: int = NOW
    max_age: int = MAX_AGE
    pinned: tuple[Draft, ...] = (FIRST,)


WRITER = Writer()


def good() -> list[Entry]:
    edge = CREATED + MAX_AGE * 9 // 10 - 1
    return [
        _vector("shared", "Two master keys wrap.", ROW),
        _vector("shared-one-recipient", "One master key wraps.", _one(), replace(WRITER, recipients=(AWS,))),
        _vector("shared-other-order", "The writer lists its keys in another order.", ROW, _reversed()),
        _vector("shared-context", "A further context entry.", _of(context=TENANT), replace(WRITER, context=TENANT)),
        _vector("shared-imported", "Imported recipients do not count.", ROW.but(imported=(VAULT,))),
        _vector("shared-second-auth", "The tag is of the second of two pinned records.", ROW, _two(), auth=SECOND),
        _vector("shared-oldest", "A second before it is too old.", ROW, replace(WRITER, now=edge)),
        _vector("shared-ahead", "Made 60 s from now.", ROW, replace(WRITER, now=CREATED - 60)),
    ]


def bad() -> list[Entry]:
    other = _of(secret=filler("another", 32))
    edge = CREATED + MAX_AGE * 9 // 10
    cut = _tagged(ROW, FIRST)
    late = Recipient(b"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", AWS.ciphertext)
    return [
        _vector("shared-untagged", "No tag.", ROW, auth=None, expect="tag"),
        _vector("shared-tag-of-another-row", "The tag of another record.", ROW.but(tag=_tag(other, FIRST)), auth=None),
        _vector("shared-tag-of-another-key", "A tag under a record that is not pinned.", ROW, auth=THIRD),
        _vector("shared-tag-of-former-key", "The record that made the tag is pinned no longer.", ROW, auth=SECOND),
        _vector("shared-tag-of-wrapping-key", "The tag is under its own wrapping key.", ROW, auth=SHARED),
        _vector("shared-tag-changed", "A bit of the tag is another.", cut.but(tag=_flipped(cut.tag)), auth=None),
        _vector("shared-tag-before-change", "Tagged before a ciphertext changed.", _changed_after_tag(), auth=None),
        _vector("shared-tag-truncated", "The tag lacks a byte.", cut.but(tag=cut.tag[:31]), auth=None, expect="absent"),
        _vector("shared-tag-cut", "The row lacks the last byte of its tag.", cut.but(tag=cut.tag[:31], tag_length=32),
                auth=None, expect="absent"),
        _vector("shared-none-pinned", "The writer pins no record.", ROW, replace(WRITER, pinned=())),
        _vector("shared-namespace", "Another namespace.", _of(context=((NAMESPACE[0], b"dev"),)), expect="context"),
        _vector("shared-context-more", "A context entry that the writer does not bind.", _of(context=TENANT),
                expect="context"),
        _vector("shared-context-less", "It lacks a context entry.", ROW, replace(WRITER, context=TENANT),
                expect="context"),
        _vector("shared-recipient-more", "One master key more.", ROW.but(verified=(AWS, GCP, VAULT)),
                expect="recipients"),
        _vector("shared-recipient-less", "One master key less.", ROW.but(verified=(AWS,)), expect="recipients"),
        _vector("shared-recipient-other", "Another master key.", ROW.but(verified=(AWS, FILE)), expect="recipients"),
        _vector("shared-recipient-replica", "A replica in another region.", ROW.but(verified=(late, GCP)),
                expect="recipients"),
        _vector("shared-recipient-imported", "One of them is imported.", ROW.but(verified=(AWS,), imported=(GCP,)),
                expect="recipients"),
        _vector("shared-too-old", "0.9 of the greatest age.", ROW, replace(WRITER, now=edge), expect="too-old"),
        _vector("shared-too-old-for-writer", "The writer's greatest age is shorter.", ROW,
                replace(WRITER, max_age=4_000), expect="too-old"),
        _vector("shared-from-the-future", "Made 61 s from now.", ROW, replace(WRITER, now=CREATED - 61),
                expect="future"),
        _vector("shared-end-of-time", "The last of all times.", _of(created=2**64 - 1), expect="future"),
        _vector("shared-purpose-1", "A wrapping key of one writer.", _of(purpose=1), expect="purpose"),
        _vector("shared-auth", "The authentication record itself.", _of(created=0, secret=FIRST.secret),
                replace(WRITER, now=1), expect="auth"),
        _vector("shared-other-secret", "The recipients unwrap to another secret.", ROW, expect="id",
                secret=filler("not the secret", 32)),
    ]  # fmt: skip


def auth() -> list[Entry]:
    """The authentication records, as rows."""
    return [
        {
            "context": _names(draft.context),
            "id": record_keys(draft)[1].hex(),
            "secret": draft.secret.hex(),
            "key": record_keys(draft)[0].hex(),
            "row_key": sha256(head(draft) + record_keys(draft)[1]).hexdigest(),
        }
        for draft in (FIRST, SECOND, THIRD)
    ]


def _vector(
    name: str,
    comment: str,
    row: Row,
    writer: Writer = WRITER,
    *,
    auth: Draft | None = FIRST,
    expect: str = "",
    secret: bytes | None = None,
) -> Entry:
    """A vector. A row whose record has ``auth`` gets its tag. What expects nothing else is good, or has a bad tag."""
    row = row if auth is None else _tagged(row, auth)
    return {
        "name": name,
        "comment": comment,
        "expect": expect or ("adopt" if auth in writer.pinned else "tag"),
        "key": row_key(row).hex(),
        "row": notation(write(row)),
        "id": row_id(row).hex(),
        "head": row_head(row).hex(),
        "secret": (row.record.secret if secret is None else secret).hex(),
        "context": _names(writer.context),
        "key_ids": [one.key_id.decode() for one in writer.recipients],
        "now": writer.now,
        "max_age": writer.max_age,
        "pinned": [record_keys(draft)[1].hex() for draft in writer.pinned],
        "slot_key": _slot_key(writer).hex(),
        "slot": (b"\0\1" + row_key(row)).hex(),
    }


def _slot_key(writer: Writer) -> bytes:
    section = head(Draft(context=writer.context))[10:]
    names = b"".join(len(name).to_bytes(2, "big") + name for name in sorted(one.key_id for one in writer.recipients))
    return sha256(b"envelope-codec/1 slot\0" + len(section).to_bytes(2, "big") + section + names).digest()


def _of(**changes: object) -> Row:
    return ROW.but(record=SHARED.but(**changes))


def _one() -> Row:
    return ROW.but(verified=(AWS,))


def _two() -> Writer:
    return replace(WRITER, pinned=(FIRST, SECOND))


def _reversed() -> Writer:
    return replace(WRITER, recipients=(GCP, AWS))


def _tag(row: Row, auth: Draft) -> bytes:
    return derive(record_keys(auth)[0], b"envelope-codec/1 keystore", tagged(row))[0]


def _tagged(row: Row, auth: Draft) -> Row:
    return row.but(tag=_tag(row, auth))


def _flipped(tag: bytes) -> bytes:
    return tag[:-1] + bytes([tag[-1] ^ 1])


def _changed_after_tag() -> Row:
    return ROW.but(verified=(Recipient(AWS_KEY, filler("made up", 184)), GCP), tag=_tag(ROW, FIRST))


def _names(entries: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in entries}
