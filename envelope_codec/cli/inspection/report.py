"""What ``inspect`` prints for people."""

from __future__ import annotations

from collections import Counter

from envelope_codec.cli.inspection.inventory import Inventory, Item, KeyNeed, creation_text, purpose_name
from envelope_codec.cli.output import Page, plural
from envelope_codec.cli.payloads.kind import Kind
from envelope_codec.envelope import Record

_LISTED = (Kind.envelope, Kind.malformed, Kind.later_version)


def print_inventory(inventory: Inventory, page: Page) -> None:
    """Print every envelope with its path, every record once, and a summary."""
    listed = inventory.of_kind(*_LISTED)
    if listed:
        page.heading("Envelopes")
    for item in listed:
        page.line(item.path, indent=2)
        text, style = _describe(item)
        page.line(text, indent=4, style=style)
    for number, record in enumerate(inventory.records, 1):
        _print_record(number, record, page)
    _print_summary(inventory, page)


def _describe(item: Item) -> tuple[str, str]:
    verdict = item.verdict
    if verdict.kind is Kind.malformed:
        return f"malformed: {verdict.why}", "red"
    if verdict.kind is Kind.later_version:
        return f"of a later version, {verdict.encoding}: {verdict.why}", "red"
    has_key = verdict.envelope is not None and verdict.envelope.wrapped_data_key is not None
    key = "a data key of its own" if has_key else "no data key: direct mode"
    return f"version 1, record {(item.record or 0) + 1}, {plural(item.size, 'byte')} of data, {key}", ""


def _print_record(number: int, record: Record, page: Page) -> None:
    page.heading(f"Record {number}")
    page.facts(
        [
            ("purpose", purpose_name(record)),
            ("created", creation_text(record) or f"{record.created} s after 1970, which is no date"),
            ("id", record.id.hex()),
            *(
                ("context" if not index else "", f"{name} = {value}")
                for index, (name, value) in enumerate(record.context)
            ),
        ]
    )
    for index, recipient in enumerate(record.recipients, 1):
        page.facts(
            [
                (f"recipient {index}", recipient.key_id),
                ("", f"version {recipient.key_version}" if recipient.key_version else "version not told by the KMS"),
                ("", f"{plural(len(recipient.ciphertext), 'byte')} of ciphertext"),
            ]
        )


def _print_summary(inventory: Inventory, page: Page) -> None:
    page.heading("Summary")
    envelopes = len(inventory.of_kind(Kind.envelope))
    under = f", under {plural(len(inventory.records), 'distinct record')}" if envelopes else ""
    page.fact("envelopes", f"{envelopes}{under}")
    for index, (key_id, need) in enumerate(inventory.keys().items()):
        page.fact("" if index else "needed keys", f"{key_id}{_versions(need)}: {plural(need.envelopes, 'envelope')}")
    for kind, label in ((Kind.malformed, "malformed"), (Kind.later_version, "later version")):
        if items := inventory.of_kind(kind):
            page.fact(label, str(len(items)), style="red")
    if items := inventory.of_kind(Kind.legacy):
        page.fact("legacy codec", f"{len(items)}, {items[0].verdict.encoding}")
    clear = inventory.of_kind(Kind.clear)
    page.fact("in clear", str(len(clear)), style="yellow" if clear else "")
    _print_counts({item.path: item.verdict.encoding or "no encoding" for item in clear}, page)
    if inventory.failures:
        page.fact("failures in clear", f"{len(inventory.failures)}, first {inventory.failures[0]}", style="yellow")
    if items := inventory.of_kind(Kind.temporal):
        page.fact("never sealed", f"{len(items)}, which Temporal itself writes, or must be able to read")
        _print_counts({item.path: item.verdict.why for item in items}, page)


def _print_counts(names: dict[str, str], page: Page) -> None:
    """Print how often each name occurs, and where it occurs first. ``names`` are by path."""
    first: dict[str, str] = {}
    for path, name in names.items():
        first.setdefault(name, path)
    for name, count in Counter(names.values()).most_common():
        page.fact("", f"{count} {name}, first {first[name]}")


def _versions(need: KeyNeed) -> str:
    versions = sorted(need.versions - {""}, key=lambda version: (len(version), version))
    return f" ({'version' if len(versions) == 1 else 'versions'} {', '.join(versions)})" if versions else ""
