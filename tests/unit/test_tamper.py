"""Whatever is changed about an envelope, or about what is kept beside Temporal, it is refused, or nothing has changed.

`tests.vectors.tamper` has the ways, and the reasons for which something is harmless; it prints the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import envelope
from envelope_codec.temporal import codec
from tests.vectors import tamper, tampering
from tests.vectors.tamper import Trial, tamper_with_all
from tests.vectors.tamper_kept import STORED, Tally
from tests.vectors.tampering import Parts, payload_of
from tests.vectors.verdict import GOOD, REFUSED, Harmless, Passed, judge

VECTORS = {vector.name: vector for vector in GOOD}
BASE = VECTORS["wrapping-key"]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Each refusal has its line in the log."""
    with caplog.at_level("CRITICAL"):
        yield


def check(tally: Tally) -> None:
    """Each way is there, and each reason for which something is harmless."""
    assert {way for way, _ in tally} == {*tamper.SAMPLE, STORED}
    assert {end for _, end in tally} == {REFUSED, *(reason.value for reason in Harmless)}
    assert {end for way, end in tally if way == STORED} == {REFUSED}
    assert all(tally[way, REFUSED] > 0 for way in tamper.SAMPLE)


@pytest.mark.slow
async def test_some_of_each_way_of_tampering_are_refused() -> None:
    check(await tamper_with_all(tamper.SAMPLE))


@pytest.mark.nightly
@pytest.mark.timeout(3 * 3_600)
async def test_every_way_of_tampering_is_refused() -> None:
    check(await tamper_with_all({}))


# --- the trial itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector.name)
def test_the_parts_of_a_record_are_the_whole_record(vector: Any) -> None:
    record = vector.metadata[tampering.RECORD]
    assert Parts.of(record).join() == record


def test_what_is_harmless_is_judged_by_the_bytes() -> None:
    original = payload_of(BASE)
    noted = payload_of(BASE)
    noted.metadata["note"] = b"lamp"
    strange = payload_of(BASE)
    strange.metadata["encryption-note"] = b"lamp"
    other = VECTORS["payload-binary"]
    judged = [judge(one, BASE) for one in (original, noted, payload_of(other), Payload(data=b"lamp"), strange)]
    assert judged == [Harmless.SAME, Harmless.UNBOUND, Harmless.OTHER, Harmless.NO_ENVELOPE, None]


async def try_all(made: Iterator[tampering.Make]) -> None:
    trial = Trial(BASE)
    for make in made:
        await trial.expect(make())


@pytest.mark.parametrize("way", ["flips", "cuts", "recipients"])
async def test_a_library_that_authenticates_nothing_is_found_out(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trial stops: so it is no matter of chance that nothing passes."""
    payload = Payload(metadata=BASE.payload.metadata, data=BASE.payload.data)  # type: ignore[union-attr, arg-type]
    monkeypatch.setattr(codec, "open_envelope", lambda *_: payload.SerializeToString())
    made = {
        "flips": lambda: tampering.flips(BASE),
        "cuts": lambda: tampering.cuts(BASE),
        "recipients": lambda: tampering.recipients(BASE, [VECTORS["two-recipients"]]),
    }[way]()
    with pytest.raises(Passed, match="not refused"):
        await try_all(made)


async def test_a_library_that_raises_another_error_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "MIN_DATA", 0)
    monkeypatch.setattr(envelope, "_WORTH_A_VIEW", "no number")
    with pytest.raises(Passed, match="cold"):
        await Trial(BASE).expect(Payload(metadata=BASE.metadata, data=BASE.data))
