"""All that leaves this process beside its work: what any library logs at any level, and the errors that leave ours."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from envelope_codec import _frames, envelope
from envelope_codec.provider import _call
from envelope_codec.temporal import codec_events
from tests.support.frame_walker import Sentinels, leaks, leaks_anywhere, leaks_of_record

CREDENTIALS: list[bytes] = []
"""Of the servers that tests use. Whoever makes one adds it."""

AWS_SECRET = "marigold-secret-access-key-of-aws"
"""LocalStack takes any."""

CREDENTIALS += [AWS_SECRET.encode(), b"open-sesame"]

_MOST_SECRETS = 60  # of those that are drawn and derived: a test of many rounds has thousands
_TESTING = "envelope_codec/testing/"


class Watch(logging.Handler):
    """Takes down what is logged, as text, with whatever hangs on a record; and the errors that leave the library.

    Attributes:
        secrets: what must be in none of it: credentials, and the keys and secrets that were made meanwhile.
        names: of the loggers that logged anything.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.secrets = Sentinels(*CREDENTIALS)
        self.names: set[str] = set()
        self._texts: list[str] = []
        self._places: list[tuple[str, str]] = []
        self._found: list[str] = []
        self._errors: list[BaseException] = []
        self._made = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self._texts.append(f"{record.name}: {record.getMessage()} {vars(record)}")
        self._places.append((f"{record.name}.{record.funcName}", record.getMessage()))
        if record.exc_info and record.exc_info[1]:
            self._texts[-1] += "".join(traceback.format_exception(record.exc_info[1]))
            if not record.name.startswith("temporalio"):  # in whose frames is what users' code was given
                self._found += leaks_anywhere(record.exc_info[1], self.secrets)
        if record.name.startswith("envelope_codec"):
            self._found += leaks_of_record(record, self.secrets)

    def handleError(self, record: logging.LogRecord) -> None:
        raise AssertionError(f"{record.name} logged something that has no text")

    def note_error(self, error: BaseException) -> None:
        """Look through this error at the end."""
        if error not in self._errors[-1_000:]:
            self._errors.append(error)

    def note_secret(self, secret: bytes) -> None:
        """Look for this one: one of the first ones, since there may be thousands."""
        self._made += 1
        if self._made <= _MOST_SECRETS:
            self.secrets.add(bytes(secret))

    def telling(self, secret: bytes) -> set[str]:
        """Which loggers and functions have logged ``secret`` in words: for what is told on purpose."""
        sentinels = Sentinels(secret)
        pairs = zip(self._places, self._texts, strict=True)
        return {place for (place, message), text in pairs if sentinels.found(message) or sentinels.found(text)}

    def found(self) -> list[str]:
        """Where a secret is."""
        for credential in CREDENTIALS:  # some were made meanwhile
            if credential not in self.secrets.secrets:
                self.secrets.add(credential)
        found = [*self._found]
        for text in self._texts:
            if self.secrets.found(text):
                found.append(text[:300])
        for error in self._errors[:200]:
            found += [where for where in leaks(error, self.secrets) if _TESTING not in where]
        return found


@contextmanager
def watching(*, errors: bool = True) -> Iterator[Watch]:
    """Have every library log at DEBUG, and watch.

    Args:
        errors: whether to look through errors. What leaves a provider does not leave the library where a keyring has
            called it.
    """
    watch = Watch()
    root = logging.getLogger()
    named = [one for one in list(root.manager.loggerDict.values()) if isinstance(one, logging.Logger)]
    levels = {one: one.level for one in [root, *named]}
    disabled = {one: one.disabled for one in named}
    with pytest.MonkeyPatch.context() as patch:
        for module in (_frames, _call, codec_events) if errors else ():
            patch.setattr(module, "without_frames", _noting(watch, module.without_frames))
        patch.setattr(os, "urandom", _drawing(watch, os.urandom))
        patch.setattr(envelope, "expand", _deriving(watch, envelope.expand))
        try:
            for one in levels:
                one.setLevel(logging.DEBUG if one is root or one.level else logging.NOTSET)
                one.disabled = False
            for name in ("sqlalchemy.engine", "sqlalchemy.pool", "sqlalchemy.orm"):  # as ``echo="debug"`` does
                levels.setdefault(logging.getLogger(name), logging.NOTSET)
                logging.getLogger(name).setLevel(logging.DEBUG)
            root.addHandler(watch)
            yield watch
        finally:
            root.removeHandler(watch)
            for one, level in levels.items():
                one.setLevel(level)
            for one, was in disabled.items():
                one.disabled = was


def _noting(watch: Watch, work):  # type: ignore[no-untyped-def]
    def without_frames(error):  # type: ignore[no-untyped-def]
        watch.note_error(error)
        return work(error)

    return without_frames


def _drawing(watch: Watch, work):  # type: ignore[no-untyped-def]
    def urandom(length: int) -> bytes:
        made: bytes = work(length)
        if length >= 32:
            watch.note_secret(made[:32])
        return made

    return urandom


def _deriving(watch: Watch, work):  # type: ignore[no-untyped-def]
    def expand(key: bytes, label: bytes, message: bytes) -> bytes:
        block: bytes = work(key, label, message)
        watch.note_secret(block[:32])
        return block

    return expand
