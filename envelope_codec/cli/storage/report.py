"""What the commands about datastores print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from envelope_codec.cli.output import Page, plural
from envelope_codec.cli.storage.search_result import SearchResult
from envelope_codec.store import Stored

STATS_FORMAT = "envelope-codec/storage-stats-1"
GC_FORMAT = "envelope-codec/storage-gc-1"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass
class Stats:
    """What a store holds.

    Attributes:
        name: of the store.
        payloads: how many there are.
        bytes: how large they are together.
        oldest: when the oldest was put, in Unix seconds; None if there is none.
    """

    name: str
    payloads: int = 0
    bytes: int = 0
    oldest: float | None = None

    def add(self, stored: Stored) -> None:
        """Count one payload."""
        self.payloads += 1
        self.bytes += stored.size
        self.oldest = stored.created if self.oldest is None else min(self.oldest, stored.created)


@dataclass
class Check:
    """Whether one store can be used.

    Attributes:
        name: of the store.
        outcome: what is wrong; empty if the store can be used.
        fix: what to do about it; empty if nobody knows.
        failed: whether the store can't be used.
    """

    name: str
    outcome: str = ""
    fix: str = ""
    failed: bool = False


def print_checks(checks: Sequence[Check], page: Page) -> None:
    """Print for people which stores can be used."""
    for check in checks:
        page.fact(check.name, check.outcome or "can be used", indent=0, style="red" if check.outcome else "")
        if check.fix:
            page.fact("", f"To do: {check.fix}", indent=0)


def print_stats(found: Sequence[Stats], page: Page) -> None:
    """Print for people what each store holds."""
    for stats in found:
        page.heading(stats.name)
        page.fact("payloads", str(stats.payloads))
        page.fact("bytes", _size(stats.bytes))
        page.fact("oldest", "-" if stats.oldest is None else _time(stats.oldest))


def stats_document(found: Sequence[Stats]) -> dict[str, Any]:
    """Make the JSON document for programs. docs/storage.md says what its names mean."""
    return {
        "format": STATS_FORMAT,
        "stores": [
            {"name": one.name, "payloads": one.payloads, "bytes": one.bytes, "oldest": one.oldest} for one in found
        ],
    }


def print_gc(
    name: str,
    namespaces: Sequence[str],
    before: float,
    result: SearchResult,
    page: Page,
    *,
    deleting: bool,
    price: float | None = None,
) -> None:
    """Print for people what a search found, and what was deleted.

    Args:
        name: of the store.
        namespaces: those that were read.
        before: Unix seconds: payloads that were put earlier were looked at.
        result: what the search found.
        page: where to print.
        deleting: whether orphans were to be deleted.
        price: of a GB in a month; None if nobody has told it.
    """
    size = _size(result.bytes)
    page.heading(f"Payloads in {name}, put before {_time(before)}")
    page.fact("old enough", str(result.listed))
    page.fact("referred to", str(result.referenced))
    if result.listed:
        what = "workflow, schedule or standalone activity", "workflows, schedules and standalone activities"
        page.fact("read", f"{plural(result.read, *what)} of {', '.join(namespaces)}")
    if result.foreign:
        page.fact("left", f"{result.foreign} that were sealed for other namespaces")
    if result.unknown:
        page.fact("left", f"{result.unknown} that are no envelopes")
    page.fact("orphans", f"{len(result.orphans)}, {size}")
    if price is not None:
        page.fact("cost", f"{_money(result.cost(price))} a month, at {price:g} for each GB")
    if deleting:
        page.fact("deleted", str(result.deleted))
        return
    for stored in result.orphans:
        page.line(f"{stored.id}  {_time(stored.created)}  {_size(stored.size)}", indent=2)
    if result.orphans:
        page.line("Nothing was deleted: --delete does that.", indent=2)


def gc_document(
    name: str,
    namespaces: Sequence[str],
    before: float,
    result: SearchResult,
    *,
    deleting: bool,
    price: float | None = None,
) -> dict[str, Any]:
    """Make the JSON document for programs. docs/storage.md says what its names mean."""
    return {
        "format": GC_FORMAT,
        "store": name,
        "namespaces": list(namespaces),
        "before": before,
        "deleting": deleting,
        "payloads": result.listed,
        "referenced": result.referenced,
        "read": result.read,
        "other_namespaces": result.foreign,
        "no_envelopes": result.unknown,
        "orphans": [{"id": one.id, "created": one.created, "bytes": one.size} for one in result.orphans],
        "deleted": result.deleted,
        "price_per_gb_month": price,
        "cost_per_month": None if price is None else result.cost(price),
    }


def _time(seconds: float) -> str:
    return f"{_EPOCH + timedelta(seconds=int(seconds)):%Y-%m-%dT%H:%M:%SZ}"


def _money(amount: float) -> str:
    return "less than 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
