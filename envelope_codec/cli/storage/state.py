"""The file of what `storage gc` has read: a workflow that has ended never changes, and need not be read again."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

from typing_extensions import Self

from envelope_codec.errors import ConfigurationError

_FORMAT = "envelope-codec/storage-gc-state-3"
"""Another number whenever more is found in a workflow: what an earlier release has read may refer to more."""


class Run(NamedTuple):
    """One run of a workflow."""

    namespace: str
    workflow_id: str
    run_id: str


class State:
    """The ids of payloads that each run refers to, for runs that have ended.

    The file has one line of JSON for each run. Only one process uses it at a time, and only its owner can read it.

    Args:
        path: the file, which is made if there is none. None keeps nothing.
        server: the address of the server. A file that was made for another server is refused.
    """

    def __init__(self, path: Path | None, server: str) -> None:
        self._path = path
        self._head = {"format": _FORMAT, "server": server}
        self._read: dict[Run, list[str]] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = self._open(self._path)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()

    def ids(self, run: Run) -> list[str] | None:
        """Return the ids that ``run`` refers to. None if it was not read yet."""
        return self._read.get(run)

    def add(self, run: Run, ids: Iterable[str]) -> None:
        """Note the ids that ``run`` refers to, once all of it is read."""
        if self._file is not None:
            self._read[run] = sorted(ids)
            self._write(self._file, run)
            self._file.flush()

    def keep(self, runs: set[Run]) -> None:
        """Forget all runs but ``runs``: the server no longer has the others."""
        if self._file is None or self._path is None or self._read.keys() <= runs:
            return
        self._read = {run: ids for run, ids in self._read.items() if run in runs}
        self._file.seek(0)
        self._file.truncate()
        self._write_head(self._file)
        for run in self._read:
            self._write(self._file, run)
        self._file.flush()

    def _open(self, path: Path) -> IO[str]:
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"can't open {str(path)!r}: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(file)
        except BlockingIOError:
            file.close()
            raise ConfigurationError(f"{str(path)!r} is in use by another storage gc") from None
        except (ValueError, KeyError, TypeError):
            file.close()
            raise ConfigurationError(
                f"{str(path)!r} is no state of storage gc for this server: name another file, or delete it"
            ) from None
        return file

    def _load(self, file: IO[str]) -> None:
        lines = file.read().split("\n")
        if lines == [""]:
            self._write_head(file)
            file.flush()
            return
        if json.loads(lines[0]) != self._head:
            raise ValueError
        whole = len(lines[0].encode()) + 1
        for line in lines[1:-1]:  # a last line without an end was cut short
            entry = json.loads(line)
            self._read[Run(*entry["run"])] = list(entry["ids"])
            whole += len(line.encode()) + 1
        file.seek(whole)
        file.truncate()

    def _write_head(self, file: IO[str]) -> None:
        file.write(json.dumps(self._head) + "\n")

    def _write(self, file: IO[str], run: Run) -> None:
        file.write(json.dumps({"run": run, "ids": self._read[run]}) + "\n")
