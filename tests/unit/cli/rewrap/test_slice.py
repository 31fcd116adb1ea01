"""Slices of a keystore: together they are the whole. And how the work on them ended, put together."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from temporalio.converter import DataConverter

from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.slice import Done, Slice
from envelope_codec.cli.rewrap.steps import Outcome
from envelope_codec.testing import FakeKeystore


def keystore(*keys: int) -> FakeKeystore:
    made = FakeKeystore()
    made.kept = {key.to_bytes(32, "big"): (b"row", "1") for key in keys}
    return made


EDGES = [0, 1, 2**255 - 1, 2**255, 2**255 + 1, 2**256 - 1, *(number * 2**248 for number in range(1, 256, 7))]


@pytest.mark.parametrize("slices", [1, 2, 3, 7, 256, 1_000])
async def test_together_they_are_the_whole(slices: int) -> None:
    all_rows = keystore(*EDGES)
    found = [kept.key async for kept in all_rows.rows()]
    cut = [kept.key for number in range(slices) async for kept in Slice(all_rows, number, slices).rows()]
    assert cut == found == sorted(found)


async def test_a_slice_goes_on_after_a_key() -> None:
    second = Slice(keystore(*EDGES), 1, 2)
    keys = [kept.key async for kept in second.rows()]
    assert keys[0] == (2**255).to_bytes(32, "big")
    assert [kept.key async for kept in second.rows(keys[3])] == keys[4:]


async def test_rows_are_read_and_written_as_in_the_keystore() -> None:
    whole = FakeKeystore()
    cut = Slice(whole, 0, 2)
    await cut.check()
    revision = await cut.put(bytes(32), b"data", None)
    kept = await cut.get(bytes(32))
    assert kept is not None
    assert (kept.data, kept.revision) == (b"data", revision)


def counts(added: int, failed: int) -> Counts:
    made = Counts(calls=3 * added)
    for _ in range(added):
        made.succeed(Outcome.added)
    for number in range(failed):
        made.fail(bytes([number + added]), "denied", f"words {number + added}")
    return made


async def test_what_came_of_rows_is_put_together() -> None:
    done = Done()
    done.add(counts(3, 2))
    done.add(counts(1, 1))
    assert (done.rows, done.calls, done.outcomes) == (7, 12, {"added": 4})
    [payload] = await DataConverter.default.encode([done])
    [back] = await DataConverter.default.decode([payload], [Done])
    assert asdict(back) == asdict(done)
    made = back.counts()
    assert (made.failed, made.failures["denied"].first, made.failures["denied"].words) == (3, b"\x03", "words 3")
