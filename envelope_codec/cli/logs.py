"""Logs, kept off the screen while a command works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LONGEST_WORDS = 400
_STORES = "envelope_codec.datastore"


class ProviderWords(logging.Handler):
    """The last line that was logged in each thread: what the KMS or the datastore said itself.

    Errors leave these words out. Providers log them as warnings, and stores log them for debugging. Neither logs
    secrets. Of a message with a traceback, only the message is kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of ``record`` for this thread."""
        if record.levelno < logging.WARNING and not record.name.startswith(f"{_STORES}."):
            return
        with suppress(Exception):  # a message of a third party whose format does not fit its arguments
            self._local.words = " ".join(record.getMessage().split())[:_LONGEST_WORDS]

    def take(self) -> str:
        """Return the last words of this thread, and forget them."""
        words: str = getattr(self._local, "words", "")
        self._local.words = ""
        return words


@contextmanager
def quiet_logs() -> Iterator[ProviderWords]:
    """Keep all logs off the screen, and the words of providers and stores at hand."""
    words, silence = ProviderWords(), logging.NullHandler()
    ours, root = logging.getLogger("envelope_codec"), logging.getLogger()
    propagate, ours.propagate = ours.propagate, False
    stores = logging.getLogger(_STORES)
    level = stores.level
    stores.setLevel(logging.DEBUG)
    ours.addHandler(words)
    root.addHandler(silence)  # without any handler, Python prints warnings to standard error
    try:
        yield words
    finally:
        root.removeHandler(silence)
        ours.removeHandler(words)
        stores.setLevel(level)
        ours.propagate = propagate
