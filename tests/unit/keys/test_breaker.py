"""Several master keys, one of them out of reach: it is asked last, found again, and nobody waits for it."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.breaker import Breaker, BreakerState
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import SealingKey
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import LIMITS, Jobs, Ring, settle, wrapped_by


def test_a_breaker_opens_at_the_first_failure_and_lets_one_probe_through_at_a_time() -> None:
    breaker = Breaker()
    assert not breaker.is_open
    assert not breaker.take_probe(100)
    breaker.open(100, jitter=1)
    assert breaker.is_open
    assert not breaker.take_probe(100.9)
    assert breaker.take_probe(101)
    assert not breaker.take_probe(101), "another one is finding out"
    breaker.open(101, jitter=1)
    assert not breaker.take_probe(102.9)
    assert breaker.take_probe(103)
    for _ in range(100):
        breaker.open(200, jitter=1)
    assert breaker.take_probe(230)
    breaker.close()
    assert not breaker.is_open
    assert not breaker.take_probe(1_000)
    breaker.open(300, jitter=0)
    assert breaker.take_probe(300.5), "it begins anew"


def test_calls_that_fail_together_are_one_failure() -> None:
    breaker = Breaker()
    for _ in range(32):
        breaker.open(105, jitter=1, begun=100)
    assert breaker.take_probe(106)
    breaker.open(106.5, jitter=1, begun=104.9)  # a late one of these
    breaker.open(111, jitter=1, begun=106)
    assert not breaker.take_probe(112.9)
    assert breaker.take_probe(113)
    breaker.close()
    breaker.open(114, jitter=1, begun=107)
    assert breaker.is_open, "an answer came meanwhile, and it began before that: whether it is out now is found out"


class _Meanwhile(float):
    """Monotonic seconds: while they are looked at, another thread gets an answer."""

    breaker: Breaker

    def __lt__(self, other: float) -> bool:
        self.breaker.close()
        return super().__lt__(other)

    def __add__(self, other: float) -> float:
        self.breaker.close()
        return super().__add__(other)


@pytest.mark.parametrize("step", ["take_probe", "open"])
def test_an_answer_closes_a_breaker_whatever_another_thread_does_meanwhile(step: str) -> None:
    breaker = Breaker()
    breaker.open(100, jitter=0)
    now = _Meanwhile(200)
    now.breaker = breaker
    if step == "open":
        breaker.open(now, jitter=0)
    else:
        breaker.take_probe(now)
    assert not breaker.is_open, "it would be asked last until somebody happened to ask it"
    assert breaker.state is BreakerState.CLOSED


class Two:
    """Two master keys for the same records, and a keyring that may use both."""

    def __init__(self, min_recipients: int = 1) -> None:
        self.first, self.second = FakeKms(), FakeKms()
        self.ring = Ring(KeySet(self.first, (self.second,), min_recipients=min_recipients))
        self._records = [wrapped_by(self.first, self.second) for _ in range(8)]
        self._made = len(self._records)

    async def open_one(self) -> None:
        record, key = self._records.pop()
        assert await self.ring.open(record) == key

    def recipients(self, key: SealingKey) -> list[str]:
        names = {self.first.key_id: "first", self.second.key_id: "second"}
        return [names[recipient.key_id] for recipient in key.record.recipients]

    @property
    def wraps(self) -> tuple[int, int]:
        """Since the records were made."""
        return self.first.wraps - self._made, self.second.wraps - self._made

    @property
    def unwraps(self) -> tuple[int, int]:
        return self.first.unwraps, self.second.unwraps


async def test_who_is_down_is_not_asked_while_another_serves() -> None:
    two = Two()
    two.first.down = True
    for _ in range(5):
        await two.open_one()
    assert two.unwraps == (1, 5)


async def test_it_is_asked_first_again_once_it_answers() -> None:
    two = Two()
    two.first.down = True
    await two.open_one()
    two.ring.advance(1)
    await two.open_one()
    assert two.unwraps == (2, 2), "one probe, in vain"
    two.first.down = False
    await two.open_one()
    assert two.unwraps == (2, 3), "the next probe is not due"
    two.ring.advance(2)
    await two.open_one()
    assert two.unwraps == (3, 4), "the probe succeeds"
    await two.open_one()
    assert two.unwraps == (4, 4)


async def test_nobody_waits_for_a_probe() -> None:
    first, second, jobs = FakeKms(), FakeKms(), Jobs()
    ring = Ring(KeySet(first, (second,)), spawn=jobs)
    (early, its_key), (record, key) = wrapped_by(first, second), wrapped_by(first, second)
    first.down = True
    assert await ring.open(early) == its_key
    ring.advance(1)
    task = asyncio.ensure_future(ring.keyring.opening_key(record))
    await settle()
    asked = first.unwraps
    jobs.run_one()
    await settle()
    assert task.done()
    assert await task == key
    assert first.unwraps == asked
    assert jobs.run() == 1
    assert first.unwraps == asked + 1


async def test_who_is_down_is_asked_all_the_same_where_no_other_serves() -> None:
    two = Two()
    two.first.down = True
    await two.open_one()
    two.first.down, two.second.down = False, True
    await two.open_one()
    assert two.unwraps == (2, 2)


@pytest.mark.parametrize("raised", [KeyDenied, InvalidCiphertext])
async def test_a_refusal_is_an_answer(raised: type[EnvelopeError]) -> None:
    kms = FakeKms()
    ring = Ring(kms)
    record, _ = wrapped_by(kms)
    kms.fail_next(KmsUnavailable("no answer"), raised("no"))
    with pytest.raises(raised):
        await ring.open(record)
    assert kms.unwraps == 2
    assert not ring.keyring._calls.breaker(kms).is_open


async def test_a_lapsed_lease_of_who_is_down_is_not_waited_for() -> None:
    """Without grace the key is asked for again, of the other master key, and no call of the first is in the way."""
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)), limits=dataclasses.replace(LIMITS, outage_grace=0.0))
    record, key = wrapped_by(first, second)
    assert await ring.open(record) == key
    first.down = True
    ring.advance(LIMITS.lease, step=50, use=lambda: ring.keyring.try_opening_key(record))
    asked = first.unwraps
    assert asked > 1
    assert await ring.open(record) == key
    assert (first.unwraps, second.unwraps) == (asked, 1)


async def test_sealing_leaves_out_who_is_down_and_takes_it_in_again() -> None:
    two = Two()
    two.first.down = True
    assert two.recipients(await two.ring.seal()) == ["second"]
    assert two.recipients(await two.ring.seal()) == ["second"]
    two.first.down = False
    two.ring.advance(61)
    assert two.recipients(await two.ring.seal()) == ["first", "second"]


async def test_sealing_asks_who_is_down_where_too_few_others_are_there() -> None:
    two = Two(min_recipients=2)
    two.first.down = True
    with pytest.raises(KmsUnavailable):
        await two.ring.seal(timeout=1)
    two.first.down = False
    assert two.recipients(await two.ring.seal()) == ["first", "second"]


async def test_who_is_down_does_not_hold_up_the_next_key_to_seal_with() -> None:
    two = Two()
    two.first.down = True
    await two.ring.seal("one")
    await two.ring.seal("another")
    assert two.wraps == (1, 2)
    two.ring.advance(1)
    await two.ring.seal("a third")
    assert two.wraps == (2, 3), "it is time to ask again"


@pytest.mark.parametrize(
    ("state", "turn", "after"),
    [
        (BreakerState.CLOSED, "answer", BreakerState.CLOSED),
        (BreakerState.CLOSED, "no answer", BreakerState.OPEN),
        (BreakerState.CLOSED, "probe", BreakerState.CLOSED),
        (BreakerState.OPEN, "answer", BreakerState.CLOSED),
        (BreakerState.OPEN, "no answer", BreakerState.OPEN),
        (BreakerState.OPEN, "probe", BreakerState.HALF_OPEN),
        (BreakerState.OPEN, "probe too early", BreakerState.OPEN),
        (BreakerState.HALF_OPEN, "answer", BreakerState.CLOSED),
        (BreakerState.HALF_OPEN, "no answer", BreakerState.OPEN),
        (BreakerState.HALF_OPEN, "probe", BreakerState.HALF_OPEN),
        (BreakerState.HALF_OPEN, "probe too early", BreakerState.HALF_OPEN),
    ],
)
def test_each_state_and_what_follows_it(state: BreakerState, turn: str, after: BreakerState) -> None:
    breaker = Breaker()
    if state is not BreakerState.CLOSED:
        breaker.open(100, jitter=1)
    if state is BreakerState.HALF_OPEN:
        assert breaker.take_probe(101)
    assert breaker.state is state
    if turn == "answer":
        breaker.close()
    elif turn == "no answer":
        breaker.open(101, jitter=1)
    else:
        breaker.take_probe(1_000 if turn == "probe" else 100.5)
    assert breaker.state is after
    assert breaker.is_open is (after is not BreakerState.CLOSED)
