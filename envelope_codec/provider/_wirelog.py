"""Secrets kept out of the debug log of an SDK."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WireLog:
    """The loggers of an SDK that log requests and replies.

    At level DEBUG an SDK logs the bodies of requests and replies: the secret itself. An application that turns on DEBUG
    for everything would write its wrapping keys to its log. Make one such object a module, for the life of the
    process: it puts a filter on the loggers.

    Args:
        names: of the loggers. A filter on a logger does not hold for the loggers below it: name each.
    """

    def __init__(self, *names: str) -> None:
        self._silence = _Silence()
        silencer = _Silencer(self._silence)
        for name in names:
            logging.getLogger(name).addFilter(silencer)

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Within it, this thread's calls leave no request, no reply and no traceback in the log.

        What other threads log is left as it is. The SDK must log in the thread that calls.
        """
        self._silence.depth += 1
        try:
            yield
        finally:
            self._silence.depth -= 1


class _Silence(threading.local):
    depth = 0


class _Silencer(logging.Filter):
    """Drops records for debugging, and takes the tracebacks of others: their frames hold the secret too."""

    def __init__(self, silence: _Silence) -> None:
        super().__init__()
        self._silence = silence

    def filter(self, record: logging.LogRecord) -> bool:
        if self._silence.depth == 0:
            return True
        record.exc_info = record.exc_text = None
        return record.levelno > logging.DEBUG
