"""Slices of a keystore: together they are the whole. And how the work on them ended, put together."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import pytest
from temporalio.converter import DataConverter

from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.slice import Done, slice_of
from envelope_codec.cli.rewrap.steps import Outcome
from tests.support.rewrapped_rows import Bench, row_by


@pytest.mark.parametrize("slices", [1, 2, 3, 7, 256, 1_000])
async def test_together_they_are_the_whole(slices: int) -> None:
    bench = Bench()
    for _ in range(20):
        bench.keep(row_by(bench.old))
    found = list[bytes]()
    for number in range(slices):
        found += (await bench.run().survey(0, span=slice_of(number, slices))).under_old
    assert found == sorted(bench.keystore.kept)


@pytest.mark.parametrize("slices", [1, 2, 3, 7, 256, 65_536])
def test_one_begins_where_the_last_one_ends(slices: int) -> None:
    spans = [slice_of(number, slices) for number in range(slices)]
    assert (spans[0].after, spans[-1].last) == (b"", b"\xff" * 32)
    assert all(one.last == other.after for one, other in itertools.pairwise(spans))


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
