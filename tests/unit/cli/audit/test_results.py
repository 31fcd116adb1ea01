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

AUDIT, WINDOW = "m", Span("closed", 0, 5)
RESULT = Result(Tally(sources=3, first_clear="workflow 'marigold'"), array("Q", [1, 2**64 - 1]), 7)


@pytest.fixture
def store() -> Memory:
    return Memory()


@pytest.fixture
def results(store: Memory) -> Results:
    return Results(store, EnvelopeCodec(EnvelopeConfig(key=FakeKms()), namespace="default"))


async def test_a_result_comes_back(results: Results) -> None:
    assert await results.get(AUDIT, WINDOW, await results.put(AUDIT, WINDOW, RESULT)) == RESULT


async def test_a_page_comes_back(results: Results) -> None:
    page = [Kept(Span("closed", 0, 5), "r", 3), Kept(Span("closed", 5, 9), "s", 1)]
    assert await results.get_page(AUDIT, await results.put_page(AUDIT, page)) == page


async def test_what_is_kept_is_sealed(results: Results, store: Memory) -> None:
    await results.put(AUDIT, WINDOW, RESULT)
    [kept] = store.kept.values()
    assert b"marigold" not in kept
    assert Payload.FromString(kept).metadata["encoding"] == b"binary/envelope-v1"


async def test_each_result_has_its_own_id(results: Results, store: Memory) -> None:
    assert await results.put(AUDIT, WINDOW, RESULT) != await results.put(AUDIT, WINDOW, RESULT)
    assert len(store.kept) == 2


async def test_another_result_in_its_place_is_noticed(results: Results, store: Memory) -> None:
    first, second = await results.put(AUDIT, WINDOW, RESULT), await results.put(AUDIT, WINDOW, RESULT)
    store.kept[first] = store.kept[second]
    with pytest.raises(Stopped, match="is one of another"):
        await results.get(AUDIT, WINDOW, first)


async def test_a_result_of_another_audit_or_window_is_not_taken(results: Results) -> None:
    """Whoever can write to Temporal can repeat what a worker sealed, without a key. An old result would hide a need."""
    id = await results.put(AUDIT, WINDOW, RESULT)
    page = await results.put_page(AUDIT, [])
    for audit, window in (("other", WINDOW), (AUDIT, Span("closed", 5, 9)), (AUDIT, Span("open", 0, 5))):
        with pytest.raises(Stopped, match="is one of another"):
            await results.get(audit, window, id)
    with pytest.raises(Stopped, match="is one of another"):
        await results.get_page("other", page)
    with pytest.raises(Stopped, match="is one of another"):
        await results.check_marker(id)


async def test_what_anybody_could_have_written_is_not_taken(results: Results, store: Memory) -> None:
    id = await results.put(AUDIT, WINDOW, RESULT)
    plain = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps([id, {}]).encode())
    for forged in (plain.SerializeToString(), b"\xff\xff", b""):
        store.kept[id] = forged
        with pytest.raises(Stopped, match="is none"):
            await results.get(AUDIT, WINDOW, id)


async def test_a_page_is_no_result(results: Results) -> None:
    with pytest.raises(Stopped, match="is none"):
        await results.get(AUDIT, WINDOW, await results.put_page(AUDIT, []))


async def test_a_marker_says_that_the_place_is_the_same(results: Results) -> None:
    marker = await results.put_marker()
    await results.check_marker(marker)
    await results.forget(marker)
    with pytest.raises(PayloadMissing):
        await results.check_marker(marker)
