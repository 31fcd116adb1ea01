"""What code does that was to do nothing but read its input: it asks a network, starts a program, or writes a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.system")
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.truncate", "os.symlink")


class _Watch:
    on = False
    seen: list[str] = []  # noqa: RUF012 - there is one watch


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _Watch.on and (event in _FORBIDDEN or event in _CHANGES or (event == "open" and _writes(arguments))):
        _Watch.seen.append(event)


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


@lru_cache(maxsize=1)
def _install() -> None:
    sys.addaudithook(_note)  # for good: there is no way to take one out


@contextmanager
def reading_only() -> Iterator[None]:
    """Raise `AssertionError` at the end if anything was written, started or asked."""
    _install()
    _Watch.seen.clear()
    _Watch.on = True
    try:
        yield
    finally:
        _Watch.on = False
    assert not _Watch.seen, f"it did more than read its input: {_Watch.seen}"
