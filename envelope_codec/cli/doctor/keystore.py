"""The test of the configured keystore: whether it can be used, and whether its rows are rows."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.keystore_backup import BackupProbe
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.cli.logs import ProviderWords
from envelope_codec.cli.stores import wait_for_sqlite_threads
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreUnavailable
from envelope_codec.keystore import KEY_LENGTH, Keystore, KeystoreUrl
from envelope_codec.keystore_row import MalformedRow, parse_row
from envelope_codec.keystore_sharing import is_slot

_ROWS = 1_000
_COMPARED = 100_000  # rows, where there is a backup to compare them with
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
        own: how many of those are of namespaces that are examined.
        whole: whether there are no more rows than were read.
        backup: what is known of a backup; None if none is to be examined.
    """

    keystore: KeystoreUrl | Keystore
    writes: bool
    defect: str = ""
    use: Answer | None = None
    listing: Answer | None = None
    rows: int = 0
    malformed: int = 0
    own: int = 0
    whole: bool = False
    backup: BackupProbe | None = None

    @property
    def scheme(self) -> str:
        """The URL's scheme; empty where there is no URL."""
        return self.keystore.scheme if isinstance(self.keystore, KeystoreUrl) else ""


async def probe_keystore(
    config: EnvelopeConfig,
    deadline: Deadline,
    calls: Calls,
    words: ProviderWords,
    *,
    namespaces: Sequence[str] = (),
    backup: Path | None = None,
) -> KeystoreProbe | None:
    """Use the keystore, if there is one, in a thread of its own. Return what is known at ``deadline`` at the latest.

    With ``sealing = false``, and in direct mode, nothing is published.

    Args:
        config: names the keystore.
        deadline: for all of it.
        calls: runs the thread.
        words: what the datastore says itself.
        namespaces: that are examined.
        backup: a file of ``keystore export``, to be compared with the keystore.
    """
    if config.keystore is None:
        return None
    keystore = KeystoreUrl(config.keystore) if isinstance(config.keystore, str) else config.keystore
    probe = KeystoreProbe(keystore, config.sealing and config.wrapping != "direct")
    probe.backup = BackupProbe(backup) if backup is not None else None
    work = partial(_examine, probe, config, frozenset(namespaces), words)
    await calls.result(work, deadline)
    # Copies: a thread that is late goes on to fill in the originals.
    return replace(probe, backup=probe.backup and replace(probe.backup))


def _examine(probe: KeystoreProbe, config: EnvelopeConfig, namespaces: Collection[str], words: ProviderWords) -> None:
    try:
        asyncio.run(_ask(probe, config, namespaces, words))
    except Exception as error:
        if probe.use is None:
            probe.defect = _describe(error)
    if probe.backup is not None and not probe.backup.defect:
        masters = MasterKeys()
        try:
            probe.backup.open_sample(config, masters)
        finally:
            masters.close()


async def _ask(probe: KeystoreProbe, config: EnvelopeConfig, namespaces: Collection[str], words: ProviderWords) -> None:
    if probe.backup is not None:
        try:
            probe.backup.read(config)
        except ConfigurationError as error:
            probe.backup.defect = str(error)
    async with opened(probe.keystore) as keystore:
        async with _timed(words) as ended:
            await (keystore.check() if probe.writes else keystore.get(os.urandom(KEY_LENGTH)))
        probe.use = ended[0]
        if probe.use.error is not None:
            return
        async with _timed(words) as ended:
            await _read(probe, keystore, namespaces)
        probe.listing = ended[0]


async def _read(probe: KeystoreProbe, keystore: Keystore, namespaces: Collection[str]) -> None:
    """Count the first rows, and those that are none. Look for each in the backup."""
    most = _ROWS if probe.backup is None or probe.backup.defect else _COMPARED
    async for kept in keystore.rows():
        if is_slot(kept.data):
            continue
        if probe.rows == most:
            return
        probe.rows += 1
        try:
            row = parse_row(kept.key, kept.data)
        except MalformedRow:
            probe.malformed += 1
            continue
        probe.own += row.namespace in namespaces
        if probe.backup is not None and not probe.backup.defect:
            probe.backup.compare(row)
    probe.whole = True


@asynccontextmanager
async def opened(keystore: KeystoreUrl | Keystore) -> AsyncIterator[Keystore]:
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
