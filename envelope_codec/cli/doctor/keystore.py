"""The test of the configured keystore: whether it can be used, and whether its rows are rows."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import ProviderWords
from envelope_codec.cli.stores import wait_for_sqlite_threads
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreUnavailable
from envelope_codec.keystore import KEY_LENGTH, Keystore, KeystoreUrl
from envelope_codec.keystore_row import MalformedRow, parse_row
from envelope_codec.keystore_sharing import is_slot

_ROWS = 1_000
_TO_CLOSE = 5.0


@dataclass
class KeystoreProbe:
    """The keystore, and what is known of it. A thread fills it in while it works.

    Attributes:
        keystore: its URL, which is never shown, or what the application made.
        writes: whether records are to be published there. Otherwise it is only read from.
        defect: why it can't be opened; empty if it can.
        use: how using it ended. None if it was not tried, or has not ended.
        listing: how reading its first rows ended, likewise.
        rows: how many were read.
        malformed: how many of those are no rows.
    """

    keystore: KeystoreUrl | Keystore
    writes: bool
    defect: str = ""
    use: Answer | None = None
    listing: Answer | None = None
    rows: int = 0
    malformed: int = 0

    @property
    def scheme(self) -> str:
        """The URL's scheme; empty where there is no URL."""
        return self.keystore.scheme if isinstance(self.keystore, KeystoreUrl) else ""


async def probe_keystore(
    config: EnvelopeConfig, deadline: Deadline, calls: Calls, words: ProviderWords
) -> KeystoreProbe | None:
    """Use the keystore, if there is one, in a thread of its own. Return what is known at ``deadline`` at the latest.

    With ``sealing = false``, and in direct mode, nothing is published.
    """
    if config.keystore is None:
        return None
    keystore = KeystoreUrl(config.keystore) if isinstance(config.keystore, str) else config.keystore
    probe = KeystoreProbe(keystore, config.sealing and config.wrapping != "direct")
    await calls.result(lambda: _examine(probe, words), deadline)
    return replace(probe)  # a copy: a thread that is late goes on to fill in the original


def _examine(probe: KeystoreProbe, words: ProviderWords) -> None:
    try:
        asyncio.run(_ask(probe, words))
    except Exception as error:
        if probe.use is None:
            probe.defect = _describe(error)


async def _ask(probe: KeystoreProbe, words: ProviderWords) -> None:
    async with _opened(probe.keystore) as keystore:
        async with _timed(words) as ended:
            await (keystore.check() if probe.writes else keystore.get(os.urandom(KEY_LENGTH)))
        probe.use = ended[0]
        if probe.use.error is not None:
            return
        async with _timed(words) as ended:
            await _read(probe, keystore)
        probe.listing = ended[0]


async def _read(probe: KeystoreProbe, keystore: Keystore) -> None:
    """Count the first rows, and those that are none."""
    async for kept in keystore.rows():
        if is_slot(kept.data):
            continue
        probe.rows += 1
        try:
            parse_row(kept.key, kept.data)
        except MalformedRow:
            probe.malformed += 1
        if probe.rows == _ROWS:
            return


@asynccontextmanager
async def _opened(keystore: KeystoreUrl | Keystore) -> AsyncIterator[Keystore]:
    """Open the keystore, and close what was opened."""
    opened = keystore.open() if isinstance(keystore, KeystoreUrl) else keystore
    try:
        yield opened
    finally:
        if opened is not keystore:
            with suppress(Exception):  # the server may be gone, or give no answer
                await asyncio.wait_for(opened.close(), _TO_CLOSE)
            await wait_for_sqlite_threads()


@asynccontextmanager
async def _timed(words: ProviderWords) -> AsyncIterator[list[Answer]]:
    """Yield a list, which has the answer of what was done inside once that has ended."""
    words.take()
    begun, answers = time.perf_counter(), list[Answer]()
    try:
        yield answers
    except Exception as error:
        seconds = time.perf_counter() - begun
        if isinstance(error, EnvelopeError):
            answers.append(Answer(seconds, error, words.take()))
        else:  # no keystore may raise such an error, and its text may hold anything
            failed = StoreUnavailable("the keystore failed unexpectedly")
            answers.append(Answer(seconds, failed, type(error).__name__))
    else:
        answers.append(Answer(time.perf_counter() - begun))


def _describe(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return str(error).removeprefix("keystore: ")
    return f"it can't be opened: {type(error).__name__}"
