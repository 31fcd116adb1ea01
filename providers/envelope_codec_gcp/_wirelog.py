"""Keeps secrets out of the debug log of Google's SDK.

At level DEBUG the SDK logs the requests and replies of every call, in the extras of its records, which its own format
of structured logs (``GOOGLE_SDK_PYTHON_LOGGING_SCOPE``) prints: for Encrypt and Decrypt the secret itself, in base64.
An application that turns on DEBUG for everything would so write its wrapping keys to its log file.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport


class _Silence(threading.local):
    depth = 0


_silence = _Silence()


class _DropWhileSilent(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return _silence.depth == 0


@contextmanager
def bodies_unlogged() -> Iterator[None]:
    """Within it, this thread's calls leave no request and no reply in the log; other threads' calls do as before.

    A thread is enough: the SDK's interceptor, which logs both, runs in the thread that calls.
    """
    _silence.depth += 1
    try:
        yield
    finally:
        _silence.depth -= 1


# The interceptor stands in the same module as the transport, and logs under the module's name.
logging.getLogger(KeyManagementServiceGrpcTransport.__module__).addFilter(_DropWhileSilent())
