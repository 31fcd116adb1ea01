"""What a revocation, a closing or the end of grace does while one of two master keys is out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import GRACE, LEASE, Jobs, Ring, settle, wrapped_by

STEP = 10.0


class Pair:
    """Two master keys for the same records, the first of which is out of reach, and known to be."""

    def __init__(self) -> None:
        self.first, self.second, self.jobs = FakeKms(), FakeKms(), Jobs()
        self.ring = Ring(KeySet(self.first, (self.second,)), spawn=self.jobs)
        self.records = [wrapped_by(self.first, self.second) for _ in range(4)]

    def pass_time(self, seconds: float, use: Callable[[], object] = lambda: None) -> None:
        """Let time pass, in which the keyring's threads do what falls due, and ``use`` is called often."""
        self.ring.advance(seconds, step=STEP, use=lambda: (use(), self.jobs.run()))

    async def lose_the_first(self) -> None:
        self.first.down = True
        record, key = self.records.pop()
        assert await self.ring.open(record) == key
        self.ring.advance(1)  # the next to ask finds it time for a probe

    async def begin_a_probe(self) -> None:
        """Open a record by the second, after which a probe of the first waits for a thread."""
        record, key = self.records[0]
        task = asyncio.ensure_future(self.ring.keyring.opening_key(record))
        await settle()
        self.jobs.run_one()
        await settle()
        assert await task == key
        assert len(self.jobs) == 1


def assert_ends_at_lease_and_grace(pair: Pair, use: Callable[[], object]) -> None:
    """Both master keys are of no use from now on, and a key is at hand."""
    begun = used = pair.ring.clock.monotonic()
    while pair.ring.clock.monotonic() < begun + LEASE + GRACE + 10 * STEP:
        if use() is not None:
            used = pair.ring.clock.monotonic()
        pair.pass_time(STEP)
    assert begun + LEASE + GRACE - STEP <= used < begun + LEASE + GRACE


async def test_a_probe_that_is_refused_takes_nothing_from_those_that_serve() -> None:
    pair = Pair()
    await pair.lose_the_first()
    await pair.begin_a_probe()
    pair.first.down, pair.first.denied = False, True
    pair.jobs.run()
    asked = pair.second.unwraps
    record, key = pair.records[0]
    assert await pair.ring.open(record) == key
    assert pair.second.unwraps == asked
    assert not pair.ring.keyring._calls.breaker(pair.first).is_open, "a refusal is an answer"
    assert (await pair.ring.seal()).record.recipients[0].key_id == pair.second.key_id


async def test_a_probes_answer_counts_for_nothing_if_a_denial_arrived_meanwhile() -> None:
    """The key is disabled while the probe is under way, which another call is told; the probe is still answered."""
    pair = Pair()
    await pair.lose_the_first()
    await pair.begin_a_probe()
    pair.first.down = False
    other, _ = wrapped_by(pair.first)

    def disabled(operation: str) -> None:
        pair.first.before_call = lambda operation: setattr(pair.first, "denied", True)
        pair.first.denied = True
        with pytest.raises(KeyDenied):
            pair.ring.keyring._opening._ask(other, b"another")
        pair.first.denied = False

    pair.first.before_call = disabled
    pair.jobs.run_one()
    told = [event.outcome for event in pair.ring.events if event.key_id == pair.first.key_id]
    assert told[-3:] == ["KeyDenied", "ok", "KeyDenied"], "it is asked again"
    record, key = pair.records[0]
    assert await pair.ring.open(record) == key
    pair.second.denied = True
    pair.pass_time(LEASE, lambda: pair.ring.keyring.try_opening_key(record))
    assert pair.ring.kept == 0


async def test_a_probe_that_lands_after_the_closing_leaves_nothing_behind() -> None:
    pair = Pair()
    await pair.lose_the_first()
    await pair.begin_a_probe()
    pair.first.down = False
    pair.first.before_call = lambda operation: pair.ring.keyring.close()
    pair.jobs.run()
    assert pair.ring.kept == 0
    assert pair.ring.clock.next_due is None


async def test_what_the_second_opened_when_the_firsts_grace_had_ended_has_a_grace_of_its_own() -> None:
    pair = Pair()
    record, key = pair.records.pop()
    assert await pair.ring.open(record) == key
    pair.first.down = True
    pair.pass_time(LEASE + GRACE)
    assert await pair.ring.open(record) == key
    assert pair.second.unwraps == 1
    pair.second.down = True
    assert_ends_at_lease_and_grace(pair, lambda: pair.ring.keyring.try_opening_key(record))


async def test_revoking_one_of_two_leaves_sealing_to_the_other_and_revoking_both_ends_it() -> None:
    pair = Pair()
    sealing = await pair.ring.seal()
    pair.first.denied = True
    pair.pass_time(2 * LEASE, lambda: pair.ring.keyring.try_sealing_key("default"))
    assert pair.ring.keyring.try_sealing_key("default") is sealing
    pair.second.denied = True
    pair.pass_time(LEASE, lambda: pair.ring.keyring.try_sealing_key("default"))
    assert pair.ring.keyring.try_sealing_key("default") is None
    with pytest.raises(KeyDenied):
        await pair.ring.seal()


async def test_revoking_one_while_the_other_is_out_ends_with_lease_and_grace() -> None:
    """The one that is out might still say yes, and so it is an outage."""
    pair = Pair()
    await pair.ring.seal()
    pair.second.down = pair.first.denied = True
    assert_ends_at_lease_and_grace(pair, lambda: pair.ring.keyring.try_sealing_key("default"))
    with pytest.raises(KmsUnavailable):
        await pair.ring.seal(timeout=1)
