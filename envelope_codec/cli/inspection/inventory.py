"""What a document holds: the header of every envelope, and a summary."""

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
        path: where it stands.
        verdict: what it is.
        size: bytes of its data.
        record: of an envelope, the number of its record in `Inventory.records`.
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
        records: distinct records, in the order in which they were met.
        failures: where failure messages or stack traces are in clear.
    """

    items: list[Item] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, places: Iterable[Location]) -> Inventory:
        """Take stock of ``places``."""
        inventory, numbers = cls(), dict[tuple[bytes, bytes], int]()
        for place in places:
            if place.is_failure:
                inventory.failures.append(place.path)
                continue
            verdict, number = judge(place), None
            if verdict.envelope is not None:
                record = verdict.envelope.record
                number = numbers.setdefault((record.wire, record.key_id_bytes), len(inventory.records))
                if number == len(inventory.records):
                    inventory.records.append(record)
            size = len(place.payload.data) if place.payload is not None else 0
            inventory.items.append(Item(place.path, verdict, size, number))
        return inventory

    def of_kind(self, *kinds: Kind) -> list[Item]:
        """The payloads of these kinds."""
        return [item for item in self.items if item.verdict.kind in kinds]

    @property
    def is_sound(self) -> bool:
        """Whether all that claims to be an envelope is one of a version that is known here."""
        return not self.of_kind(Kind.malformed, Kind.later_version)

    def keys(self) -> dict[str, KeyNeed]:
        """What the envelopes need, by key id. Of several recipients, any one will do."""
        needs: dict[str, KeyNeed] = {}
        envelopes = Counter(item.record for item in self.items)
        for number, record in enumerate(self.records):
            for recipient in record.recipients:
                need = needs.setdefault(recipient.key_id, KeyNeed())
                need.envelopes += envelopes[number]
                need.versions.add(recipient.key_version)
        return needs

    def document(self) -> dict[str, Any]:
        """All of it, for programs. docs/command-line.md tells what the names mean."""
        return {
            "format": FORMAT,
            "payloads": [_item(item) for item in self.items],
            "records": [_record(record) for record in self.records],
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
    """How many envelopes one master key opens, and which of its versions wrapped their records; "" is unknown."""

    envelopes: int = 0
    versions: set[str] = field(default_factory=set)


def purpose_of(record: Record) -> str:
    """The purpose, as the KMS is told it."""
    return record.kms_context["envelope-codec:purpose"]


def created_of(record: Record) -> str | None:
    """When the record was made, in UTC; None where no calendar has such a time."""
    try:
        return f"{_EPOCH + timedelta(seconds=record.created):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return None


def _item(item: Item) -> dict[str, Any]:
    verdict = item.verdict
    shown: dict[str, Any] = {"place": item.path, "kind": verdict.kind.value, "encoding": verdict.encoding}
    if verdict.envelope is not None:
        has_data_key = verdict.envelope.wrapped_data_key is not None
        shown |= {"version": 1, "record": item.record, "data_bytes": item.size, "data_key": has_data_key}
    elif verdict.kind is Kind.temporal:
        shown["name"] = verdict.why
    elif verdict.why:
        shown["reason"] = verdict.why
    return shown


def _record(record: Record) -> dict[str, Any]:
    return {
        "purpose": purpose_of(record),
        "created": record.created,
        "created_utc": created_of(record),
        "id": record.id.hex(),
        "context": dict(record.context),
        "recipients": [
            {"key_id": one.key_id, "key_version": one.key_version, "ciphertext_bytes": len(one.ciphertext)}
            for one in record.recipients
        ],
    }
