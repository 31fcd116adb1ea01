"""Results of a distributed audit: they are sealed where they are kept, and nobody can put others in their place."""

from __future__ import annotations

import json
from array import array

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig, PayloadMissing
from envelope_codec.cli.audit.checkpoint import Result
from envelope_codec.cli.audit.messages import Kept, Span
from envelope_codec.cli.audit.results import Results
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.memory_store import Memory

RESULT = Result(Tally(sources=3, first_clear="workflow 'marigold'"), array("Q", [1, 2**64 - 1]), 7)


@pytest.fixture
def store() -> Memory:
    return Memory()


@pytest.fixture
def results(store: Memory) -> Results:
    return Results(store, EnvelopeCodec(EnvelopeConfig(key=FakeKms()), namespace="default"))


async def test_a_result_comes_back(results: Results) -> None:
    assert await results.get(await results.put(RESULT)) == RESULT


async def test_a_page_comes_back(results: Results) -> None:
    page = [Kept(Span("closed", 0, 5), "r", 3), Kept(Span("closed", 5, 9), "s", 1)]
    assert await results.get_page(await results.put_page(page)) == page


async def test_what_is_kept_is_sealed(results: Results, store: Memory) -> None:
    await results.put(RESULT)
    [kept] = store.kept.values()
    assert b"marigold" not in kept
    assert Payload.FromString(kept).metadata["encoding"] == b"binary/envelope-v1"


async def test_each_result_has_its_own_id(results: Results, store: Memory) -> None:
    assert await results.put(RESULT) != await results.put(RESULT)
    assert len(store.kept) == 2


async def test_another_result_in_its_place_is_noticed(results: Results, store: Memory) -> None:
    first, second = await results.put(RESULT), await results.put(RESULT)
    store.kept[first] = store.kept[second]
    with pytest.raises(Stopped, match="is one of another"):
        await results.get(first)


async def test_what_anybody_could_have_written_is_not_taken(results: Results, store: Memory) -> None:
    id = await results.put(RESULT)
    plain = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps([id, {}]).encode())
    for forged in (plain.SerializeToString(), b"\xff\xff", b""):
        store.kept[id] = forged
        with pytest.raises(Stopped, match="is none"):
            await results.get(id)


async def test_a_page_is_no_result(results: Results) -> None:
    with pytest.raises(Stopped, match="is none"):
        await results.get(await results.put_page([]))


async def test_a_marker_says_that_the_place_is_the_same(results: Results) -> None:
    marker = await results.put_marker()
    await results.check_marker(marker)
    await results.forget(marker)
    with pytest.raises(PayloadMissing):
        await results.check_marker(marker)
