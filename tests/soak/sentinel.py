"""A text that stands in every payload, and must stand nowhere else."""

from __future__ import annotations

import base64
import mmap
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Find(NamedTuple):
    """Where the text was found in clear, and how often."""

    place: str
    times: int


def forms_of(sentinel: str) -> tuple[bytes, ...]:
    """The text as it may stand in bytes: as it is, in UTF-16, in hex, and in base64 at each of its three alignments."""
    text = sentinel.encode()
    forms = [text, sentinel.encode("utf-16-le"), text.hex().encode(), text.hex().upper().encode()]
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + text)
        # The first and the last characters also depend on what stands beside the text.
        inner = coded[-(-before * 8 // 6) :].rstrip(b"=")[:-1]
        forms += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return tuple(dict.fromkeys(forms))


def times_in(data: bytes | mmap.mmap, forms: tuple[bytes, ...]) -> int:
    """How often one of the forms stands in ``data``."""
    times = 0
    for form in forms:
        at = data.find(form)
        while at >= 0:
            times += 1
            at = data.find(form, at + len(form))
    return times


class Watch:
    """Looks for the text in what passes by, from any thread. It keeps nothing of that."""

    def __init__(self, sentinel: str) -> None:
        self._forms = forms_of(sentinel)
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def look(self, place: str, data: bytes) -> None:
        found = times_in(data, self._forms)
        with self._lock:
            self.seen[place] += len(data)
            self.found[place] += found

    def finds(self) -> list[Find]:
        return [Find(place, times) for place, times in self.found.items() if times]


class Search:
    """Looks for the text in files.

    Attributes:
        bytes: how many were read.
        files: how many.
    """

    def __init__(self, sentinel: str) -> None:
        self._forms = forms_of(sentinel)
        self.bytes = 0
        self.files = 0

    def below(self, place: str, path: Path) -> list[Find]:
        """Look into a file, or into all files of a folder and of those below it."""
        found = ((file, self._times(file)) for file in _files(path))
        return [Find(f"{place}: {file.name}", times) for file, times in found if times]

    def _times(self, file: Path) -> int:
        try:
            size = file.stat().st_size
            if not size:
                return 0
            with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
                self.files += 1
                self.bytes += len(view)
                return times_in(view, self._forms)
        except FileNotFoundError:
            return 0  # a datastore has taken it away meanwhile


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink())
