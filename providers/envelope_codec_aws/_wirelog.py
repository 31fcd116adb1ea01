"""Keeps secrets out of botocore's debug log.

At level DEBUG botocore logs the bodies of requests and replies: for Encrypt and Decrypt the secret itself, in base64,
and for AssumeRole the credentials. An application that turns on DEBUG for everything would so write its wrapping keys
to its log file.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS_OF_BODIES = ("botocore.endpoint", "botocore.parsers")


class _Silence(threading.local):
    depth = 0


_silence = _Silence()


class _DropWhileSilent(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return _silence.depth == 0


@contextmanager
def bodies_unlogged() -> Iterator[None]:
    """Within it, this thread's calls leave no request and no reply in the log; other threads' calls do as before."""
    _silence.depth += 1
    try:
        yield
    finally:
        _silence.depth -= 1


_filter = _DropWhileSilent()
for _name in _LOGGERS_OF_BODIES:
    logging.getLogger(_name).addFilter(_filter)
