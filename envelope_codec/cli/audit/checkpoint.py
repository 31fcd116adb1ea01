"""The file of what an audit has counted, window by window, so that an audit that was ended can go on."""

from __future__ import annotations

import fcntl
import json
import os
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from typing_extensions import Self

from envelope_codec.cli.audit.tally import Tally, from_document, to_document
from envelope_codec.cli.audit.window import Part, Window
from envelope_codec.errors import ConfigurationError

_FORMAT = "envelope-codec/audit-2"


@dataclass
class Result:
    """What a window holds. A later result replaces it, and nothing is ever added to it.

    Attributes:
        tally: the counts.
        runs: 8 bytes of each run's id, by which the run is known again.
        read_at: when the window was read, in milliseconds since 1970.
    """

    tally: Tally
    runs: array[int]
    read_at: int


class Checkpoint:
    """The results of an audit's windows, in memory and in a file.

    The file has one line of JSON for its head, and one for each plan and result. The last result of a window counts.
    Only one process uses it at a time, and only its owner can read it.

    Args:
        path: the file, which is made if there is none. None keeps nothing.
        parameters: what was asked for, but for the moment: server, namespace and query.
        as_of: T0, in milliseconds since 1970. None if the file may say it.

    Attributes:
        as_of: T0. None until it is known.
        windows: the plan of each part that has one.
        results: by window.
    """

    def __init__(self, path: Path | None, parameters: dict[str, str], as_of: int | None) -> None:
        self.as_of = as_of
        self.windows: dict[Part, list[Window]] = {}
        self.results: dict[Window, Result] = {}
        self._path = path
        self._parameters = parameters
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = self._open(self._path)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()

    def identify(self, namespace_id: str) -> None:
        """Say which namespace it is, by the id that its server has given it.

        Raises:
            ConfigurationError: the file is of another namespace. Its name, and the server's address, are the same.
        """
        if self._has_head and self._namespace_id != namespace_id:
            raise ConfigurationError(
                f"{str(self._path)!r} is the checkpoint of another namespace of this name: another server answers at "
                "this address, or the namespace was made anew. Name another file, or delete it"
            )
        self._namespace_id = namespace_id

    def begin(self, as_of: int) -> None:
        """Fix T0, once it is known."""
        if self.as_of is None or not self._has_head:
            self.as_of = as_of
            head = {"format": _FORMAT, "parameters": self._parameters, "as_of": as_of}
            self._write({**head, "namespace_id": self._namespace_id})
            self._has_head = True

    def plan(self, part: Part, windows: list[Window]) -> None:
        """Keep the windows of a part."""
        self.windows[part] = windows
        self._write({"part": part.value, "windows": [[window.low, window.high] for window in windows]})

    def put(self, window: Window, result: Result) -> None:
        """Keep a result, in place of the window's last one."""
        self.results[window] = result
        self._write(
            {
                "window": [window.part.value, window.low, window.high],
                "runs": result.runs.tobytes().hex(),
                "read_at": result.read_at,
                "tally": to_document(result.tally),
            }
        )

    _has_head = False
    _namespace_id = ""

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _open(self, path: Path) -> IO[str]:
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"can't open {str(path)!r}: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(file, path)
        except BlockingIOError:
            file.close()
            raise ConfigurationError(f"{str(path)!r} is in use by another audit") from None
        except ConfigurationError:
            file.close()
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            file.close()
            raise ConfigurationError(
                f"{str(path)!r} is no checkpoint of an audit: name another file, or delete it"
            ) from None
        return file

    def _load(self, file: IO[str], path: Path) -> None:
        whole = 0
        for number, line in enumerate(file.read().splitlines(keepends=True)):
            if not line.endswith("\n"):  # the process ended while it wrote this
                if not number and not line.startswith('{"format": "envelope-codec/audit-'[: len(line)]):
                    raise ValueError
                break
            entry = json.loads(line)
            if number:
                self._take(entry)
            else:
                self._check_head(entry, path)
            whole += len(line.encode())
        file.seek(whole)
        file.truncate()

    def _check_head(self, head: dict[str, Any], path: Path) -> None:
        if head["format"] != _FORMAT:
            raise ValueError
        theirs: dict[str, Any] = dict(head["parameters"])
        names = dict.fromkeys([*self._parameters, *theirs])
        other = [name for name in names if theirs.get(name) != self._parameters.get(name)]
        if self.as_of is not None and self.as_of != head["as_of"]:
            other.append("--as-of")
        if other:
            raise ConfigurationError(
                f"{str(path)!r} is the checkpoint of another audit, with another {', '.join(other)}: "
                "name another file, or delete it"
            )
        self.as_of = int(head["as_of"])
        self._namespace_id = str(head["namespace_id"])
        self._has_head = True

    def _take(self, entry: dict[str, Any]) -> None:
        if "part" in entry:
            part = Part(entry["part"])
            self.windows[part] = [Window(part, int(low), int(high)) for low, high in entry["windows"]]
            return
        name, low, high = entry["window"]
        runs = array("Q")
        runs.frombytes(bytes.fromhex(entry["runs"]))
        result = Result(from_document(entry["tally"]), runs, int(entry["read_at"]))
        self.results[Window(Part(name), int(low), int(high))] = result
