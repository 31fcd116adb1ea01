"""The test of the configured datastores: whether they can be used."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import ProviderWords
from envelope_codec.cli.stores import check_store, open_store, stores_by_setting
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreUnavailable
from envelope_codec.store import PayloadStore, StoreUrl


@dataclass
class StoreProbe:
    """One store, and what is known of it. A thread fills it in while it works.

    Attributes:
        setting: the setting that names it: ``storage``, or ``former_storage[0]`` and so on.
        url: its URL, which is never shown.
        writes: whether payloads are to be stored there. Otherwise it is only read from.
        defect: why it can't be opened; empty if it can.
        answer: how using it ended. None if it was not tried, or has not ended.
    """

    setting: str
    url: StoreUrl
    writes: bool
    defect: str = ""
    answer: Answer | None = None

    @property
    def name(self) -> str:
        """The store's name, which Temporal sees."""
        return self.url.name

    @property
    def role(self) -> str:
        """What it is configured as: ``storage`` or ``former_storage``."""
        return self.setting.partition("[")[0]


async def probe_stores(
    config: EnvelopeConfig, deadline: Deadline, calls: Calls, words: ProviderWords
) -> list[StoreProbe]:
    """Use each store, in a thread and an event loop of its own, and return what is known at ``deadline`` at the latest.

    With ``sealing = false`` nothing is stored anywhere.
    """
    probes = [
        StoreProbe(setting, url, setting == "storage" and config.sealing)
        for setting, url in stores_by_setting(config).items()
    ]
    await calls.results([partial(_examine, probe, words) for probe in probes], deadline)
    return [replace(probe) for probe in probes]  # copies: threads that are late go on to fill in the originals


def _examine(probe: StoreProbe, words: ProviderWords) -> None:
    try:
        asyncio.run(_use(probe, words))
    except Exception as error:
        if probe.answer is None:
            probe.defect = _describe(error)


async def _use(probe: StoreProbe, words: ProviderWords) -> None:
    async with open_store(probe.url) as store:
        probe.answer = await _ask(store, probe.writes, words)


async def _ask(store: PayloadStore, writes: bool, words: ProviderWords) -> Answer:
    words.take()
    begun = time.perf_counter()
    try:
        await check_store(store, writes=writes)
    except Exception as error:
        seconds = time.perf_counter() - begun
        if isinstance(error, EnvelopeError):
            return Answer(seconds, error, words.take())
        # No store may raise such an error, and its text may hold anything.
        return Answer(seconds, StoreUnavailable("the datastore failed unexpectedly"), type(error).__name__)
    return Answer(time.perf_counter() - begun)


def _describe(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return str(error).removeprefix("storage: ")
    return f"it can't be opened: {type(error).__name__}"
