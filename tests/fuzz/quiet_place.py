"""A place for targets that make clients: an empty folder as home, and an environment without anyone's credentials."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from unittest.mock import patch

_KEPT = ("PATH", "LANG", "TMPDIR")
_GIVEN = {
    "VAULT_ADDR": "http://127.0.0.1:1",
    "VAULT_TOKEN": "token",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "NO_GCE_CHECK": "true",
}


@lru_cache(maxsize=1)
def folder() -> Path:
    """Return the folder. It stays until the process ends."""
    kept = tempfile.TemporaryDirectory(prefix="envelope-fuzz-")
    _held.append(kept)
    return Path(kept.name)


_held: list[tempfile.TemporaryDirectory[str]] = []


@contextmanager
def quiet_place() -> Iterator[None]:
    """Have this environment meanwhile."""
    given = {name: os.environ[name] for name in _KEPT if name in os.environ}
    variables = {**given, **_GIVEN, "HOME": str(folder())}
    # To look for them anew would take most of the time of an input.
    points = patch.object(metadata, "entry_points", lambda *, group: _entry_points(group))
    with patch.dict(os.environ, variables, clear=True), points:
        yield


@lru_cache(maxsize=8)
def _entry_points(
    group: str, find: Callable[..., metadata.EntryPoints] = metadata.entry_points
) -> metadata.EntryPoints:
    return find(group=group)
