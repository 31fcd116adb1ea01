"""A program that stores payloads and does not take care of what it has opened. Started by `test_stores`."""

from __future__ import annotations

import asyncio
import sys

from temporalio.converter import DataConverter

from envelope_codec import EnvelopePlugin
from envelope_codec.testing import FakeKms


async def store(url: str) -> EnvelopePlugin:
    plugin = EnvelopePlugin(FakeKms(), storage=url, storage_threshold=0)
    converter = plugin._apply(DataConverter.default, "default", plugin.config)
    assert await converter.decode(await converter.encode(["text"] * 5)) == ["text"] * 5
    return plugin


async def main() -> None:
    for url in sys.argv[1:]:
        await store(url)  # forgotten
        kept.append(await store(url))
    for url in sys.argv[1:]:
        (await store(url)).close()  # so late that nobody waits for it


kept: list[EnvelopePlugin] = []
asyncio.run(main())
print("stored")
