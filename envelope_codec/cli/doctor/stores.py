"""Whether the configured datastores can be used."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.call import Calls, Deadline
from envelope_codec.cli.logs import ProviderWords
from envelope_codec.cli.stores import check_store, open_store, stores_by_setting
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreUnavailable
from envelope_codec.store import PayloadStore, StoreUrl


@dataclass
class StoreProbe:
    """One store, and what has been found so far; a thread goes on filling it in.

    Attributes:
        setting: what names it: ``storage``, or ``former_storage[0]`` and so on.
        url: its URL, which is for nobody's eyes.
        writes: whether anything is to be stored there. Else it is only read from.
        defect: why it can't be opened.
        answer: how using it ended; None if it was not tried, or has not ended.
    """

    setting: str
    url: StoreUrl
    writes: bool
    defect: str = ""
    answer: Answer | None = None

    @property
    def name(self) -> str:
        """What Temporal sees of it."""
        return self.url.name

    @property
    def role(self) -> str:
        """``storage`` or ``former_storage``."""
        return self.setting.partition("[")[0]


async def probe_stores(
    config: EnvelopeConfig, deadline: Deadline, calls: Calls, words: ProviderWords
) -> list[StoreProbe]:
    """Use each store, in a thread and an event loop of its own, as far as that ends before ``deadline``.

    With sealing off nothing is stored anywhere.
    """
    probes = [
        StoreProbe(setting, url, setting == "storage" and config.sealing)
        for setting, url in stores_by_setting(config).items()
    ]
    await calls.results([partial(_examine, probe, words) for probe in probes], deadline)
    return [replace(probe) for probe in probes]  # as they are now: threads that are late go on with theirs


def _examine(probe: StoreProbe, words: ProviderWords) -> None:
    try:
        asyncio.run(_use(probe, words))
    except Exception as error:
        if probe.answer is None:
            probe.defect = _defect(error)


async def _use(probe: StoreProbe, words: ProviderWords) -> None:
    async with open_store(probe.url) as store:
        probe.answer = await _asked(store, probe.writes, words)


async def _asked(store: PayloadStore, writes: bool, words: ProviderWords) -> Answer:
    words.take()
    begun = time.perf_counter()
    try:
        await check_store(store, writes=writes)
    except Exception as error:
        seconds = time.perf_counter() - begun
        if isinstance(error, EnvelopeError):
            return Answer(seconds, error, words.take())
        # Which no store may raise, and whose text may hold anything.
        return Answer(seconds, StoreUnavailable("the datastore failed unexpectedly"), type(error).__name__)
    return Answer(time.perf_counter() - begun)


def _defect(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return str(error).removeprefix("storage: ")
    return f"it can't be opened: {type(error).__name__}"
