"""The inventory of a document: the header of every envelope, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from envelope_codec.cli.payloads.kind import Kind, Verdict, judge
from envelope_codec.cli.payloads.location import Location
from envelope_codec.envelope import Record

FORMAT = "envelope-codec/inspect-1"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Item:
    """One payload.

    Attributes:
        path: where the payload stands.
        verdict: what the payload is.
        size: how many bytes of data it has.
        record: the index of its record in `Inventory.records`, if it is an envelope.
    """

    path: str
    verdict: Verdict
    size: int
    record: int | None = None


@dataclass
class Inventory:
    """All payloads of a document, and the distinct records among them.

    Attributes:
        items: the payloads, in document order.
        records: the distinct records, in document order.
        failures: the paths of failures whose message or stack trace is in clear.
    """

    items: list[Item] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, locations: Iterable[Location]) -> Inventory:
        """Take the inventory of what was found at ``locations``."""
        inventory, numbers = cls(), dict[tuple[bytes, bytes], int]()
        for location in locations:
            if location.is_failure:
                inventory.failures.append(location.path)
                continue
            verdict, number = judge(location), None
            if verdict.envelope is not None:
                record = verdict.envelope.record
                number = numbers.setdefault((record.wire, record.key_id_bytes), len(inventory.records))
                if number == len(inventory.records):
                    inventory.records.append(record)
            size = len(location.payload.data) if location.payload is not None else 0
            inventory.items.append(Item(location.path, verdict, size, number))
        return inventory

    def of_kind(self, *kinds: Kind) -> list[Item]:
        """List the payloads of these kinds."""
        return [item for item in self.items if item.verdict.kind in kinds]

    @property
    def is_sound(self) -> bool:
        """Whether every payload that claims to be an envelope is well-formed and of a version that is known here."""
        return not self.of_kind(Kind.malformed, Kind.later_version)

    def keys(self) -> dict[str, KeyNeed]:
        """Say by key id which master keys the envelopes need. Of several recipients of a record, one is enough."""
        needs: dict[str, KeyNeed] = {}
        envelopes = Counter(item.record for item in self.items)
        for number, record in enumerate(self.records):
            for recipient in record.recipients:
                need = needs.setdefault(recipient.key_id, KeyNeed())
                need.envelopes += envelopes[number]
                need.versions.add(recipient.key_version)
        return needs

    def document(self) -> dict[str, Any]:
        """Make the JSON document for programs. docs/command-line.md says what its names mean."""
        return {
            "format": FORMAT,
            "payloads": [_item_document(item) for item in self.items],
            "records": [_record_document(record) for record in self.records],
            "failures_in_clear": self.failures,
            "summary": self._summary(),
        }

    def _summary(self) -> dict[str, Any]:
        counts = Counter(item.verdict.kind for item in self.items)
        keys = [
            {"key_id": key_id, "key_versions": sorted(need.versions - {""}), "envelopes": need.envelopes}
            for key_id, need in self.keys().items()
        ]
        return {
            "payloads": len(self.items),
            "envelopes": counts[Kind.envelope],
            "records": len(self.records),
            "keys": keys,
            "malformed": counts[Kind.malformed],
            "later_versions": counts[Kind.later_version],
            "legacy": counts[Kind.legacy],
            "clear": counts[Kind.clear],
            "clear_by_encoding": dict(Counter(item.verdict.encoding for item in self.of_kind(Kind.clear))),
            "temporal": counts[Kind.temporal],
            "temporal_by_name": dict(Counter(item.verdict.why for item in self.of_kind(Kind.temporal))),
            "failures_in_clear": len(self.failures),
        }


@dataclass
class KeyNeed:
    """What the envelopes need of one master key.

    Attributes:
        envelopes: how many of them it opens.
        versions: its versions that wrapped their records; "" where the KMS does not tell.
    """

    envelopes: int = 0
    versions: set[str] = field(default_factory=set)


def purpose_name(record: Record) -> str:
    """Name the purpose of ``record`` as the KMS is told it."""
    return record.kms_context["envelope-codec:purpose"]


def creation_text(record: Record) -> str | None:
    """Write in UTC when ``record`` was made. None if it is a time that no calendar has."""
    try:
        return f"{_EPOCH + timedelta(seconds=record.created):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return None


def _item_document(item: Item) -> dict[str, Any]:
    verdict = item.verdict
    shown: dict[str, Any] = {"place": item.path, "kind": verdict.kind.value, "encoding": verdict.encoding}
    if verdict.envelope is not None:
        has_data_key = verdict.envelope.wrapped_data_key is not None
        shown |= {"version": 1, "record": item.record, "data_bytes": item.size, "data_key": has_data_key}
    elif verdict.kind is Kind.temporal:
        shown["name"] = verdict.why
    elif verdict.why:
        shown["reason"] = verdict.why
    elif verdict.proxy_key:
        shown["proxy_key"] = verdict.proxy_key
    return shown


def _record_document(record: Record) -> dict[str, Any]:
    return {
        "purpose": purpose_name(record),
        "created": record.created,
        "created_utc": creation_text(record),
        "id": record.id.hex(),
        "context": dict(record.context),
        "recipients": [
            {"key_id": one.key_id, "key_version": one.key_version, "ciphertext_bytes": len(one.ciphertext)}
            for one in record.recipients
        ],
    }
