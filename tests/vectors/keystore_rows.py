"""Vectors of keystore rows: good ones, and such as break one rule and are consistent otherwise."""

from __future__ import annotations

from typing import Any

from tests.vectors.good_vectors import (
    BASE,
    NAMESPACE,
    REPLICAS,
    SHARED,
    context,
    longest_context,
    many_entries,
    notation,
)
from tests.vectors.lax_row import TAG_KEY, Row, row_head, row_id, row_key, with_tag, write
from tests.vectors.lax_writer import AWS, AWS_KEY, FILE, GCP, VAULT, Draft, Recipient, filler, head

Entry = dict[str, Any]

ROW = Row()
EIGHT = (AWS, GCP, VAULT, FILE, *REPLICAS)
OTHERS = tuple(Recipient(b"key:%d" % number, filler(f"other {number}", 60), b"1") for number in range(8))
TAGGED = with_tag(Row(SHARED, verified=(AWS, GCP), imported=(VAULT,)))


def good() -> list[Entry]:
    largest = tuple(_largest(b"L%d" % number) for number in range(8))
    made_up = Recipient(AWS_KEY, filler("made up", 184))
    return [
        _ok("row-published", "A record of one recipient, as its writer publishes it.", ROW),
        _ok("row-two-verified", "The first key id is spelled out like the second.", ROW.but(verified=(AWS, GCP))),
        _ok("row-of-three-lists", "Verified, imported and a tag.", TAGGED, tag_key=TAG_KEY.hex()),
        _ok("row-imported-only", "Nobody has unwrapped any of its recipients.", ROW.but(verified=(), imported=(AWS,))),
        _ok("row-eight-of-each", "Eight verified and eight imported ones.", ROW.but(verified=EIGHT, imported=OTHERS)),
        _ok(
            "row-imported-key-id-twice",
            "Two imported ones of one key id: one of them is made up.",
            ROW.but(verified=(), imported=(made_up, AWS)),
        ),
        _ok(
            "row-imported-differ-in-version",
            "Two imported ones that differ in their key version alone.",
            ROW.but(imported=(VAULT, Recipient(VAULT.key_id, VAULT.ciphertext, b"3"))),
        ),
        _ok("row-longest-context", "The longest context.", Row(BASE.but(context=longest_context()))),
        _ok("row-most-entries", "253 context entries.", Row(BASE.but(context=many_entries(253)))),
        _ok("row-created-latest", "The last of all times.", Row(BASE.but(created=2**64 - 1))),
        _ok("row-key-id-1", "A key id of one byte.", ROW.but(verified=(Recipient(b"k", b"c"),))),
        _ok(
            "row-largest",
            "Eight largest verified ones, and as many bytes of imported ones as there may be.",
            Row(BASE.but(context=longest_context()), verified=largest, imported=_bytes(16_896)),
        ),
    ]


def bad() -> list[Entry]:
    twice = Recipient(AWS_KEY, filler("another", 184))
    nine = (*EIGHT, Recipient(b"ninth", b"c"))
    return [
        *_bad_frames(),
        *_bad_heads(),
        _absent("row-no-recipient", "Neither a verified nor an imported one.", ROW.but(verified=())),
        _absent("row-nine-verified", "Nine verified ones.", ROW.but(verified=nine)),
        _absent("row-nine-imported", "Nine imported ones.", ROW.but(imported=(*OTHERS, Recipient(b"ninth", b"c")))),
        *_bad_recipients(),
        _absent("row-verified-key-id-twice", "Two verified ones of one key id.", ROW.but(verified=(AWS, twice))),
        _absent("row-verified-twice", "A verified one comes twice.", ROW.but(verified=(AWS, AWS))),
        _absent("row-verified-and-imported", "A key id is in both lists.", ROW.but(imported=(twice,))),
        _absent("row-in-both-lists", "A recipient is in both lists.", ROW.but(imported=(AWS,))),
        _absent("row-imported-twice", "An imported one comes twice.", ROW.but(imported=(GCP, GCP))),
        _absent("row-imported-16897", "Imported ones are a byte too long together.", ROW.but(imported=_bytes(16_897))),
        _absent("row-tag-1", "A tag of one byte.", ROW.but(tag=b"t")),
        _absent("row-tag-31", "A tag of 31 bytes.", ROW.but(tag=b"t" * 31)),
        _absent("row-tag-33", "A tag of 33 bytes.", ROW.but(tag=b"t" * 33)),
        _absent("row-tag-64", "A tag of 64 bytes.", ROW.but(tag=b"t" * 64)),
    ]


def _bad_frames() -> list[Entry]:
    whole = write(TAGGED)
    return [
        _absent("row-65537", "65,537 bytes.", ROW.but(tail=b"\0" * (65_537 - len(write(ROW))))),
        _cut("row-empty", "No bytes.", 0),
        _cut("row-cut-head", "It ends within its head.", 20),
        _cut("row-cut-id", "It ends within its id.", 3 + len(row_head(TAGGED)) + 31),
        _cut("row-cut-recipient", "It ends within a ciphertext.", len(whole) // 2),
        _cut("row-cut-tag", "It lacks the last byte of its tag.", len(whole) - 1),
        _cut("row-without-tag-length", "It ends after its imported ones.", len(whole) - 33),
        _absent("row-verified-count", "It says that there is one more imported one.", ROW.but(counts=(1, 1))),
        _absent("row-trailing-byte", "A byte follows a row without a tag.", ROW.but(tail=b"\0")),
        _absent("row-trailing-after-tag", "A byte follows the tag.", TAGGED.but(tail=b"\0")),
        _absent("row-version-0", "Version 0.", ROW.but(version=0)),
        _absent("row-version-2", "Version 2.", ROW.but(version=2)),
    ]


def _bad_heads() -> list[Entry]:
    plain = head(BASE)
    second, aws, folded = (b"tenant", b"t1"), (b"AWS:x", b"v"), (b"Temporal-Namespace", b"prod")

    def of(name: str, comment: str, **changes: object) -> Entry:
        return _absent(f"row-head-{name}", comment, Row(BASE.but(**changes)))

    return [
        _absent("row-head-empty", "No head.", ROW.but(head=b"")),
        _absent("row-head-trailing", "A byte follows the context in the head.", ROW.but(head=plain + b"\0")),
        _absent("row-head-short", "The head's length is one too small.", ROW.but(head_length=len(plain) - 1)),
        _absent("row-head-long", "The head's length is one too large.", ROW.but(head_length=len(plain) + 1)),
        of("version-2", "The record's version is 2.", version=2),
        of("purpose-0", "Purpose 0.", purpose=0),
        of("purpose-4", "Purpose 4.", purpose=4),
        of("purpose-2", "A record of direct mode is not kept.", purpose=2),
        of("no-context", "No context.", context=()),
        of("no-namespace", "No temporal-namespace.", context=(second,)),
        of("unsorted", "Context names do not ascend.", context=(second, NAMESPACE)),
        of("name-twice", "A context name comes twice.", context=(NAMESPACE, NAMESPACE)),
        of("case", "Two context names differ in case only.", context=context(folded)),
        of("reserved", "A reserved context name.", context=context(aws)),
        of("not-utf8", "A context value is not UTF-8.", context=((NAMESPACE[0], b"\xff"),)),
        of("name-empty", "A context name is empty.", context=context((b"", b"v"))),
        of("value-empty", "A context value is empty.", context=context((b"n", b""))),
        of("name-129", "A context name of 129 bytes.", context=context((b"n" * 129, b"v"))),
        of("value-4001", "A context value of 4,001 bytes.", context=context((b"n", b"v" * 4001))),
        of("context-6001", "A context of 6,001 bytes.", context=longest_context(6001)),
        of("entries-254", "254 context entries.", context=many_entries(254)),
        _absent("row-of-another-key", "It is kept under another key.", ROW.but(key=row_key(TAGGED))),
        _absent("row-of-no-key", "Its key is empty.", ROW.but(key=b"")),
    ]


def _bad_recipients() -> list[Entry]:
    listed: list[Entry] = []
    for place in ("verified", "imported"):

        def of(name: str, comment: str, recipient: Recipient, place: str = place) -> Entry:
            return _absent(f"row-{place}-{name}", comment, ROW.but(**{place: (FILE, recipient)}))

        listed += [
            of("key-id-empty", "A key id is empty.", Recipient(b"", b"c")),
            of("key-id-513", "A key id of 513 bytes.", Recipient(b"k" * 513, b"c")),
            of("key-id-not-utf8", "A key id is not UTF-8.", Recipient(b"k\xff", b"c")),
            of("key-version-257", "A key version of 257 bytes.", Recipient(b"k", b"c", b"1" * 257)),
            of("key-version-not-utf8", "A key version is not UTF-8.", Recipient(b"k", b"c", b"\xc0\x80")),
            of("ciphertext-empty", "A ciphertext is empty.", Recipient(b"k", b"")),
            of("ciphertext-4097", "A ciphertext of 4,097 bytes.", Recipient(b"k", b"c" * 4097)),
        ]
    return [*listed, _first_empty()]


def _first_empty() -> Entry:
    first = Recipient(AWS_KEY, AWS.ciphertext, spelled=b"")
    return _absent(
        "row-first-key-id-left-out", "The first key id is left out, as in an envelope.", ROW.but(verified=(first,))
    )


def _largest(start: bytes) -> Recipient:
    return Recipient(start.ljust(512, b"k"), start[-1:] * 4096, b"9" * 256)


def _bytes(total: int) -> tuple[Recipient, ...]:
    """Imported recipients of ``total`` bytes together, none of them over its own bound."""
    found = [Recipient(b"I%d" % number, bytes([number]) * 4096) for number in range(4)]
    rest = total - sum(6 + len(one.key_id) + len(one.ciphertext) for one in found)
    return (*found, Recipient(b"I4", b"r" * (rest - 8)))


def _ok(name: str, comment: str, row: Row, **more: Any) -> Entry:
    draft: Draft = row.record
    return {
        **_entry(name, comment, "ok", row),
        "purpose": draft.purpose,
        "created": draft.created,
        "context": {key.decode(): value.decode() for key, value in draft.context},
        "id": row_id(row).hex(),
        "verified": [_recipient(one) for one in row.verified],
        "imported": [_recipient(one) for one in row.imported],
        "tag": row.tag.hex(),
        **more,
    }


def _absent(name: str, comment: str, row: Row) -> Entry:
    return _entry(name, comment, "absent", row)


def _cut(name: str, comment: str, length: int) -> Entry:
    return {**_entry(name, comment, "absent", TAGGED), "row": notation(write(TAGGED)[:length])}


def _entry(name: str, comment: str, expect: str, row: Row) -> Entry:
    return {"name": name, "comment": comment, "expect": expect, "key": row_key(row).hex(), "row": notation(write(row))}


def _recipient(one: Recipient) -> Entry:
    return {
        "key_id": one.key_id.decode(),
        "key_version": one.key_version.decode(),
        "ciphertext": notation(one.ciphertext),
    }
