"""A small disk for a datastore, which can be filled. It takes the right to mount one."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

_PIECES = (2**26, 2**20, 2**12)  # bytes


class SmallDisk:
    """A file system in memory, mounted at ``path``.

    Attributes:
        mounted: whether there is one. If we may not mount, ``path`` is a folder like any other.
    """

    def __init__(self, path: Path, mebibytes: int) -> None:
        self._path = path
        self._filler = path / "filler"
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs", str(path)]
        try:
            self.mounted = subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            self.mounted = False

    def fill(self) -> None:
        """Leave not a page, whatever else is written meanwhile."""
        at = 0
        with self._filler.open("wb") as filler:
            for size in _PIECES:
                with suppress(OSError):  # no room for one more of this size
                    while True:
                        os.posix_fallocate(filler.fileno(), at, size)
                        at += size

    def empty(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self._path)], capture_output=True)
            self.mounted = False
