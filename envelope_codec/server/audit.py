"""The audit trail: a line of JSON for each request, before it is answered. Who, what, where; never content."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import structlog

from envelope_codec._process import renew_after_fork
from envelope_codec.errors import ConfigurationError
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.payloads.outcome import OPENED, PASSED, SEALED, Outcome, failures
from envelope_codec.server.web.refusal import NOT_ALLOWED

_MOST_NAMES = 16  # namespaces and key ids of one request
_LONGEST = 200
_BUFFER = 65_536  # bytes


@dataclass
class Entry:
    """What is known of a request so far."""

    request_id: str
    client: str
    verb: str = ""
    namespace: str = ""
    principal: Principal | None = None
    payloads: int = 0
    outcomes: Sequence[Outcome] = ()
    begun: float = field(default_factory=time.perf_counter)

    def line(self, status: int, error: str) -> dict[str, Any]:
        """What is written of it.

        Args:
            status: that it is answered.
            error: code of the refusal, "" if there is none.
        """
        failed = failures(self.outcomes)
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
            "namespaces": _some(outcome.namespace for outcome in self.outcomes),
            "key_ids": _some(outcome.key_id for outcome in self.outcomes),
            "status": status,
            "error": error,
            "ms": round((time.perf_counter() - self.begun) * 1_000, 3),
        }
        if who.id_token:
            line["id_token"] = who.id_token
        return line


class Audit:
    """Where the lines go.

    Args:
        path: a file, appended to; standard output if None.

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
                self._file = _opened(path)
            except OSError as error:
                raise ConfigurationError(f"server.audit_file: can't open {path!r}: {error.strerror}") from None
        self._logger = self._bound()

    def write(self, line: dict[str, Any]) -> None:
        """Write ``line``. Raises OSError if that is not possible."""
        with self._lock:
            self._logger.info("request", **line)

    def write_summary(self, line: dict[str, Any]) -> None:
        """Write a summary of requests without a line each. Raises OSError if that is not possible."""
        with self._lock:
            self._logger.info("refused", **line)

    def reopen(self) -> None:
        """Open the file again, as after it was moved away."""
        if self._path is not None:
            with self._lock:
                fresh = _opened(self._path)
                self._file.close()
                self._file, self._logger = fresh, self._bound(fresh)

    def close(self) -> None:
        """Write nothing more to the file."""
        if self._path is not None:
            with self._lock:
                self._file.close()

    def _bound(self, file: BinaryIO | None = None) -> Any:
        # JSON leaves no line break and no control character as it is, so nobody can forge a line.
        processors: list[Any] = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.JSONRenderer(_json),
        ]
        return structlog.wrap_logger(structlog.BytesLogger(file or self._file), processors=processors)


def _opened(path: str) -> BinaryIO:
    # Each line goes to the end in one write, being shorter than the buffer: the lines of several workers don't mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    return open(descriptor, "ab", buffering=_BUFFER)  # noqa: PTH123 - pathlib opens no descriptors


def _json(line: Any, **options: Any) -> bytes:
    return json.dumps(line, ensure_ascii=True, default=str).encode()


def _some(names: Any) -> list[str]:
    found = [cut(name) for name in dict.fromkeys(names) if name]
    return found if len(found) <= _MOST_NAMES else [*found[:_MOST_NAMES], f"and {len(found) - _MOST_NAMES} more"]


def cut(text: str) -> str:
    """``text``, no longer than a line takes."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
