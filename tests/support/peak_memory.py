"""How much more memory this process has at its peak while something runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_OF_THIS_PROCESS = Path("/proc/self")


class Growth:
    """The growth of the resident memory, in bytes, from the beginning of a block to its peak in the block."""

    bytes = 0


@contextmanager
def measured() -> Iterator[Growth]:
    """Measure what runs inside. Linux forgets the peak so far when it is asked to."""
    forget, growth = _OF_THIS_PROCESS / "clear_refs", Growth()
    if not forget.exists():
        pytest.skip("only Linux tells the peak of a moment")
    forget.write_text("5")
    before = _status("VmRSS")
    yield growth
    growth.bytes = _status("VmHWM") - before


def _status(name: str) -> int:
    lines = (_OF_THIS_PROCESS / "status").read_text().splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1_024 * int(kibibytes)
