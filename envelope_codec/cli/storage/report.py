"""What the commands about datastores print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from typing_extensions import Self

from envelope_codec.cli.output import Page, plural
from envelope_codec.cli.storage.garbage import Findings
from envelope_codec.store import Stored

STATS_FORMAT = "envelope-codec/storage-stats-1"
GC_FORMAT = "envelope-codec/storage-gc-1"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Progress:
    """A bar on standard error, while that is a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def expect(self, doing: str, total: int | None) -> None:
        """See `storage_gc.Watcher.expect`."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(doing.replace("[", "\\["), total=total)

    def advance(self) -> None:
        """See `storage_gc.Watcher.advance`."""
        self._bar.advance(self._task)


@dataclass
class Stats:
    """What a store holds.

    Attributes:
        name: of the store.
        payloads: how many.
        bytes: how large they are together.
        oldest: Unix seconds; None if it is empty.
    """

    name: str
    payloads: int = 0
    bytes: int = 0
    oldest: float | None = None

    def add(self, stored: Stored) -> None:
        """Count one."""
        self.payloads += 1
        self.bytes += stored.size
        self.oldest = stored.created if self.oldest is None else min(self.oldest, stored.created)


@dataclass
class Check:
    """How using one store ended.

    Attributes:
        name: of the store.
        outcome: what is wrong; empty if nothing is.
        fix: what to do about it, if anything is known.
        failed: whether the store can't be used.
    """

    name: str
    outcome: str = ""
    fix: str = ""
    failed: bool = False


def print_checks(checks: Sequence[Check], page: Page) -> None:
    """For people."""
    for check in checks:
        page.fact(check.name, check.outcome or "can be used", indent=0, style="red" if check.outcome else "")
        if check.fix:
            page.fact("", f"To do: {check.fix}", indent=0)


def print_stats(found: Sequence[Stats], page: Page) -> None:
    """For people."""
    for stats in found:
        page.heading(stats.name)
        page.fact("payloads", str(stats.payloads))
        page.fact("bytes", _size(stats.bytes))
        page.fact("oldest", "-" if stats.oldest is None else _time(stats.oldest))


def stats_document(found: Sequence[Stats]) -> dict[str, Any]:
    """For programs. docs/storage.md tells what the names mean."""
    return {
        "format": STATS_FORMAT,
        "stores": [
            {"name": one.name, "payloads": one.payloads, "bytes": one.bytes, "oldest": one.oldest} for one in found
        ],
    }


def print_gc(
    name: str, namespaces: Sequence[str], before: float, findings: Findings, page: Page, *, deleting: bool
) -> None:
    """For people."""
    size = _size(sum(stored.size for stored in findings.orphans))
    page.heading(f"Payloads in {name}, put before {_time(before)}")
    page.fact("old enough", str(findings.listed))
    page.fact("referred to", str(findings.referenced))
    if findings.listed:
        what = "workflow, schedule or standalone activity", "workflows, schedules and standalone activities"
        page.fact("read", f"{plural(findings.read, *what)} of {', '.join(namespaces)}")
    if findings.foreign:
        page.fact("left", f"{findings.foreign} that were sealed for other namespaces")
    if findings.unknown:
        page.fact("left", f"{findings.unknown} that are no envelopes")
    page.fact("orphans", f"{len(findings.orphans)}, {size}")
    if deleting:
        page.fact("deleted", str(findings.deleted))
        return
    for stored in findings.orphans:
        page.line(f"{stored.id}  {_time(stored.created)}  {_size(stored.size)}", indent=2)
    if findings.orphans:
        page.line("Nothing was deleted: --delete does that.", indent=2)


def gc_document(
    name: str, namespaces: Sequence[str], before: float, findings: Findings, *, deleting: bool
) -> dict[str, Any]:
    """For programs. docs/storage.md tells what the names mean."""
    return {
        "format": GC_FORMAT,
        "store": name,
        "namespaces": list(namespaces),
        "before": before,
        "deleting": deleting,
        "payloads": findings.listed,
        "referenced": findings.referenced,
        "read": findings.read,
        "other_namespaces": findings.foreign,
        "no_envelopes": findings.unknown,
        "orphans": [{"id": one.id, "created": one.created, "bytes": one.size} for one in findings.orphans],
        "deleted": findings.deleted,
    }


def _time(seconds: float) -> str:
    return f"{_EPOCH + timedelta(seconds=int(seconds)):%Y-%m-%dT%H:%M:%SZ}"


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
