"""Files of JSON lines that several processes append to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """One file, to append to. A line is written by one call, so that those of several processes do not mix."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **fields: Any) -> None:
        """Append a line with these fields, and ``at``: monotonic seconds, the same in all processes of a machine."""
        os.write(self._file, json.dumps({"at": time.monotonic(), **fields}).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal, if there is one. The last one is left out if its writer was killed within it."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield json.loads(line)
