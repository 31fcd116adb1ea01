"""The audit trail: one line of JSON for each request, written before the answer. It never holds content."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import structlog

from envelope_codec._process import renew_after_fork
from envelope_codec.errors import ConfigurationError
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.payloads.outcome import OPENED, PASSED, SEALED, Outcome, count_failures
from envelope_codec.server.web.refusal import NOT_ALLOWED

_MOST_NAMES = 16  # namespaces, and key ids, in one line
_LONGEST_TEXT = 200  # characters
_BUFFER = 65_536  # bytes


@dataclass
class Entry:
    """The facts of a request, as far as they are known.

    Attributes:
        request_id: as the answer has it.
        client: address that the request came from.
        verb: the one that its path names; "" for pages and unknown paths.
        namespace: the one that the request names; "" if it names none.
        principal: who made the request; None while that is not known.
        payloads: how many came.
        outcomes: what became of them.
        begun: when it came, by `time.perf_counter`.
        route: the template of its path, for metrics; None if nothing is there.
    """

    request_id: str
    client: str
    verb: str = ""
    namespace: str = ""
    principal: Principal | None = None
    payloads: int = 0
    outcomes: Sequence[Outcome] = ()
    begun: float = field(default_factory=time.perf_counter)
    route: str | None = None

    def line(self, status: int, error: str) -> dict[str, Any]:
        """Return the audit line.

        Args:
            status: of the answer.
            error: code of the refusal; "" if the request was not refused.
        """
        failed = count_failures(self.outcomes)
        kinds = [outcome.kind for outcome in self.outcomes]
        who = self.principal or Principal()
        line: dict[str, Any] = {
            "request_id": self.request_id,
            "client": cut(self.client),
            "verb": self.verb,
            "namespace": cut(self.namespace),
            "issuer": cut(who.issuer),
            "subject": cut(who.subject),
            "email": cut(who.email),
            "payloads": self.payloads,
            "opened": kinds.count(OPENED),
            "sealed": kinds.count(SEALED),
            "passed": kinds.count(PASSED),
            "denied": failed.pop(NOT_ALLOWED, 0),
            "failed": dict(failed),
            "namespaces": _list_names(outcome.namespace for outcome in self.outcomes),
            "key_ids": _list_names(outcome.key_id for outcome in self.outcomes),
            "status": status,
            "error": error,
            "ms": round((time.perf_counter() - self.begun) * 1_000, 3),
        }
        if who.id_token:
            line["id_token"] = who.id_token
        return line


class Audit:
    """The file that audit lines go to.

    Args:
        path: of a file, which is appended to; None for standard output.

    Raises:
        ConfigurationError: the file can't be opened.
    """

    _lock: threading.Lock

    def __init__(self, path: str | None) -> None:
        self._path = path
        renew_after_fork(self, _lock=threading.Lock)
        self._file: BinaryIO = sys.stdout.buffer
        if path is not None:
            try:
                self._file = _open(path)
            except OSError as error:
                raise ConfigurationError(f"server.audit_file: can't open {path!r}: {error.strerror}") from None
        self._logger = self._make_logger()

    def write(self, line: dict[str, Any]) -> None:
        """Write the line of one request. Raises OSError if that is not possible."""
        with self._lock:
            self._logger.info("request", **line)

    def write_summary(self, line: dict[str, Any]) -> None:
        """Write a summary of requests that get no line each. Raises OSError if that is not possible."""
        with self._lock:
            self._logger.info("refused", **line)

    def reopen(self) -> None:
        """Open the file again, as is needed after it was moved away."""
        if self._path is not None:
            with self._lock:
                fresh = _open(self._path)
                self._file.close()
                self._file, self._logger = fresh, self._make_logger(fresh)

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            with self._lock:
                self._file.close()

    def _make_logger(self, file: BinaryIO | None = None) -> Any:
        # JSON escapes line breaks and control characters, so nobody can forge a line.
        processors: list[Any] = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.JSONRenderer(_encode_json),
        ]
        return structlog.wrap_logger(structlog.BytesLogger(file or self._file), processors=processors)


def _open(path: str) -> BinaryIO:
    # A line is shorter than the buffer, and so goes to the file's end in one write: lines of several workers don't mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    return open(descriptor, "ab", buffering=_BUFFER)  # noqa: PTH123 - pathlib opens no descriptors


def _encode_json(line: Any, **options: Any) -> bytes:
    return json.dumps(line, ensure_ascii=True, default=str).encode()


def _list_names(names: Iterable[str]) -> list[str]:
    found = [cut(name) for name in dict.fromkeys(names) if name]
    return found if len(found) <= _MOST_NAMES else [*found[:_MOST_NAMES], f"and {len(found) - _MOST_NAMES} more"]


def cut(text: str) -> str:
    """Cut ``text`` to the length that a line takes."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
