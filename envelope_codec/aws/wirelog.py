"""Keeps secrets out of botocore's log.

At level DEBUG botocore logs the bodies of requests and replies: for Encrypt and Decrypt the secret itself, in base64,
for AssumeRole the credentials, and what a metadata service gave that can't be parsed. An application that turns on
DEBUG for everything would so write its wrapping keys to its log file. And its warnings about credentials come with a
traceback: its last line may be what a credential process wrote, and error reporters send the variables of each frame.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = ("auth", "credentials", "endpoint", "httpsession", "parsers", "tokens", "utils")


class _Silence(threading.local):
    depth = 0


_silence = _Silence()


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _silence.depth == 0:
            return True
        record.exc_info = record.exc_text = None
        return record.levelno > logging.DEBUG


@contextmanager
def bodies_unlogged() -> Iterator[None]:
    """Within it, this thread's calls leave no request, no reply and no traceback in the log; other threads' calls do
    as before.
    """
    _silence.depth += 1
    try:
        yield
    finally:
        _silence.depth -= 1


_filter = _Filter()
for _name in _NAMES:
    logging.getLogger(f"botocore.{_name}").addFilter(_filter)
