"""The search for what nothing refers to: how far it has come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.storage.garbage import Collection, Stopped
from envelope_codec.cli.storage.state import State
from envelope_codec.store import Stored
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.memory_store import Memory


class Watched:
    """Writes down what a search tells."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def expect(self, doing: str, total: int | None) -> None:
        self.told.append((doing, total))

    def advance(self) -> None:
        self.told.append(1)


async def test_a_listing_is_told_payload_by_payload() -> None:
    watched = Watched()

    class Listed(Memory):
        async def list_before(self, before: float) -> AsyncIterator[Stored]:
            for number in range(3):
                assert watched.told == [("listing the store", None), *[1] * number]
                yield Stored(f"{number:032}", 0.0, 0)

    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms()))
    with State(None, "here") as state, pytest.raises(Stopped, match="belongs to another server"):
        await Collection(Listed(), 100.0, [], codec, state, watched).search()
    assert watched.told[:4] == [("listing the store", None), 1, 1, 1]
    codec.close()
