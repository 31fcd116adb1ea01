"""A filter that keeps secrets out of botocore's log.

At level DEBUG botocore logs the bodies of requests and replies: for Encrypt and Decrypt the secret itself, in base64,
for AssumeRole the credentials, and answers of a metadata service that can't be parsed. An application that turns on
DEBUG for everything would thus write its wrapping keys to its log file. botocore's warnings about credentials have a
traceback. The last line of it may repeat what a credential process wrote, and error reporters send the variables of
each of its frames.
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
    """In the block, let this thread's calls leave no request, no reply and no traceback in the log.

    The calls of other threads are logged as before.
    """
    _silence.depth += 1
    try:
        yield
    finally:
        _silence.depth -= 1


_filter = _Filter()
for _name in _NAMES:
    logging.getLogger(f"botocore.{_name}").addFilter(_filter)
