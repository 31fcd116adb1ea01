"""The programs whose figures are on the page, each with a section of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import peer_pages, project_pages

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: of the section, and of the file with its figures.
        title: its heading.
        program: below ``benchmarks/``. A section whose program is not there is left out.
        render: gives its text.
        full: the arguments of a full run.
        quick: those of a short one, or None if it leaves the section out.
        timeout: seconds.
        with_peers: whether it runs where the other libraries are installed, not where the tests run.
        needs: a command without which it is left out.
    """

    name: str
    title: str
    program: str
    render: Callable[[Mapping[str, Any]], str]
    full: Sequence[str] = ()
    quick: Sequence[str] | None = ("--quick",)
    timeout: float = 240.0
    with_peers: bool = False
    needs: str = ""

    @property
    def available(self) -> bool:
        """Whether it can run here."""
        there = (ROOT / "benchmarks" / self.program).exists()
        return there and (not self.needs or shutil.which(self.needs) is not None)


def _peers(what: str, title: str, render: Callable[[Mapping[str, Any]], str], timeout: float = 300.0) -> Section:
    return Section(
        f"peers-{what}", title, "peers.py", render, [what], [what, "--quick"], timeout=timeout, with_peers=True
    )


SECTIONS = (
    _peers("time", "Processor time", peer_pages.time, 500.0),
    _peers("latency", "Time at a slow KMS", peer_pages.latency),
    _peers("calls", "KMS calls and overhead", peer_pages.calls),
    _peers("memory", "Peak memory", peer_pages.memory),
    Section("worker", "A real worker", "worker.py", project_pages.worker, timeout=780.0),
    Section(
        "worker-instructions",
        "A real worker's instructions",
        "worker.py",
        project_pages.instructions,
        full=["--instructions", "--quick", "--sizes", "1KiB", "--rounds", "1", "--variants", "plain"],
        quick=None,
        timeout=300.0,
        needs="valgrind",
    ),
    Section(
        "event_loop",
        "Large payloads and the event loop",
        "event_loop.py",
        project_pages.plain("For how long a large payload, or a call with many payloads, holds the event loop."),
        quick=None,
    ),
    Section(
        "compression",
        "Compression before sealing",
        "compression.py",
        project_pages.plain("What `compression` does to bytes and to processor time."),
        full=["--rounds", "7"],
        quick=["--rounds", "2"],
    ),
    Section(
        "replay",
        "Replay",
        "replay.py",
        project_pages.replay,
        full=["--rounds", "5"],
        quick=["--rounds", "2", "--events", "2000"],
    ),
    Section(
        "replay_storage",
        "Stored payloads over replays",
        "replay_storage.py",
        project_pages.plain(
            "Payloads in a store over restarts of a worker, each of which replays the workflow. *Referenced* is what "
            "the history\nrefers to; all else are orphans."
        ),
        full=["--commands", "500"],
        quick=["--commands", "50", "--restarts", "3"],
    ),
    Section(
        "renewal",
        "Renewal of keys",
        "renewal.py",
        project_pages.plain(
            "Twenty tasks encode 1 KiB each every 10 ms, while a KMS takes 50 ms a call: latency in milliseconds, "
            "where the wrapping key is renewed every 2 s, beside one that is never renewed. The next key is made in "
            "the background, before it is due."
        ),
        timeout=120.0,
    ),
)


def arguments(section: Section, *, quick: bool) -> Sequence[str] | None:
    """Return the arguments of the section's program, or None if a short run leaves it out."""
    return section.quick if quick else section.full
