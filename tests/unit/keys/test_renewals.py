"""Renewals of leases: when they are made, and what each answer does to the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from envelope_codec.envelope import NAMESPACE
from envelope_codec.errors import KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.lease import Lease, LeaseState
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.lease_register import LeaseRegister
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.renewals import Renewals
from envelope_codec.keys.witness import WrapWitness
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.keyring_on_fakes import Events, Jobs, inline, settle

LEASE, GRACE, PAUSE = 300.0, 3_600.0, 5.0
CONTEXT = ((NAMESPACE, "default"),)


class Office:
    """Renewals over fakes, and one lease that a wrap has begun."""

    def __init__(self, spawn: Callable[[Callable[[], None]], object] = inline) -> None:
        self.clock, self.kms = ManualClock(), FakeKms()
        self.calls = KmsCalls(clock=self.clock, observer=Events(), spawn=spawn, jitter=lambda: 0.0)
        self.register = LeaseRegister(self.calls)
        self.wiped: list[Lease] = []
        self.renewals = Renewals(self.calls, self.register, grace=GRACE, pause=PAUSE, wipe=self.wiped.append)
        self.lease = self.begin()

    def begin(self, version: str = "1") -> Lease:
        request = Request("wrap", id(self.kms), self.kms.key_id, CONTEXT)
        lease = self.register.begin(LeaseName(request, version, b"", LEASE), Moment.now(self.clock))
        self.succeed(lease, version)
        return lease

    def succeed(self, lease: Lease, version: str = "1") -> None:
        with self.calls.lock:
            witness = WrapWitness(self.kms, self.kms.key_id, CONTEXT, version)
            self.renewals.succeed(lease, Moment.now(self.clock), witness)

    def is_live(self, *, strict: bool = False) -> bool:
        return self.lease.live(*Moment.now(self.clock), strict=strict)


def test_a_lease_in_use_is_renewed_before_its_end() -> None:
    office = Office()
    for renewals in (1, 2, 3):
        office.lease.used = True
        office.clock.advance(0.8 * LEASE - 1)
        assert office.kms.wraps == renewals - 1
        office.clock.advance(1)
        assert (office.kms.wraps, office.lease.used) == (renewals, False)
    office.clock.advance(LEASE - 1)
    assert office.is_live()


def test_a_lease_that_is_not_used_is_looked_at_once_more_and_lapses() -> None:
    office = Office()
    office.clock.advance(2 * LEASE)
    assert (office.kms.wraps, office.clock.next_due, office.is_live()) == (0, None, False)


def test_a_lease_that_is_used_before_the_last_look_is_renewed_still() -> None:
    office = Office()
    office.clock.advance(0.9 * LEASE)
    office.lease.used = True
    office.clock.advance(0.05 * LEASE)
    assert office.kms.wraps == 1


def test_a_lease_that_another_call_has_renewed_is_left_until_it_is_due_again() -> None:
    office = Office()
    office.lease.used = True
    office.clock.advance(0.5 * LEASE)
    office.succeed(office.lease)
    office.clock.advance(0.79 * LEASE)
    assert office.kms.wraps == 0
    office.clock.advance(0.01 * LEASE + 0.001)
    assert office.kms.wraps == 1


def test_a_refusal_ends_the_lease_and_has_its_keys_wiped() -> None:
    office = Office()
    office.kms.denied = True
    office.renewals.renew_once(office.lease)
    assert (office.lease.ended, office.is_live(), office.wiped) == (True, False, [office.lease])
    assert (office.lease.name in office.register.known, office.clock.next_due) == (False, None)


def test_a_success_that_arrives_after_a_refusal_changes_nothing() -> None:
    office = Office()
    office.kms.before_call = lambda operation: office.lease.deny()
    office.renewals.renew_once(office.lease)
    assert (office.lease.state, office.lease.witness) == (LeaseState.DENIED, None)


def test_in_an_outage_the_lease_has_its_grace_and_is_renewed_when_the_kms_is_back() -> None:
    office = Office()
    office.kms.down = True
    office.lease.used = True
    office.clock.advance(LEASE + GRACE - 1)
    assert (office.is_live(), office.is_live(strict=True), office.lease.outage) == (True, False, True)
    office.kms.down = False
    retry = office.clock.next_due
    assert retry is not None
    office.clock.advance(retry)
    assert (office.is_live(strict=True), office.lease.outage, office.lease.failures) == (True, False, 0)


def test_no_attempt_is_made_after_the_grace() -> None:
    office = Office()
    office.kms.down = True
    office.lease.used = True
    office.clock.advance(LEASE + GRACE + 60)
    asked = office.kms.wraps
    office.clock.advance(GRACE)
    assert (office.is_live(), office.kms.wraps, office.clock.next_due) == (False, asked, None)


def test_another_answer_than_before_ends_the_renewals_and_not_the_lease() -> None:
    office = Office()
    office.kms.rotate()
    office.renewals.renew_once(office.lease)
    assert (office.lease.witness, office.is_live(), office.wiped) == (None, True, [])
    office.renewals.renew_once(office.lease)
    assert office.kms.wraps == 1, "there is nothing to repeat"
    office.clock.advance(LEASE)
    assert (office.is_live(), office.kms.wraps) == (False, 1)


def test_one_renewal_at_a_time() -> None:
    jobs = Jobs()
    office = Office(jobs)
    office.renewals.renew(office.lease)
    office.renewals.renew(office.lease)
    assert (jobs.run(), office.kms.wraps, office.lease.flight) == (1, 1, None)
    office.renewals.renew(office.lease)
    assert jobs.run() == 1


async def test_callers_share_the_renewal_under_way() -> None:
    jobs = Jobs()
    office = Office(jobs)
    office.clock.advance(LEASE)
    deadline = office.clock.monotonic() + 10
    first, second = (office.renewals.renew_for(office.lease, deadline) for _ in range(2))
    assert first is not None
    assert first is second
    waiting = asyncio.gather(*(first.wait(office.clock, deadline) for _ in range(2)))
    await settle()
    assert (jobs.run(), office.kms.wraps) == (1, 1)
    await waiting
    assert office.is_live()
    assert office.renewals.renew_for(office.lease, deadline) is None, "it is live by now"


def test_a_refusal_elsewhere_brings_a_renewal_forward_once_in_a_while() -> None:
    office = Office()
    request = office.lease.name.request
    with office.register.call_under_way(request) as call:
        for _ in range(3):
            office.renewals.doubt(request, "1")
        assert (office.kms.wraps, call.denials) == (1, 3)
    office.clock.advance(PAUSE)
    office.renewals.doubt(request, "1")
    assert office.kms.wraps == 2
    assert office.is_live(), "a refusal of something else ends nothing"


def test_the_end_of_a_lease_leads_to_its_siblings() -> None:
    office = Office()
    sibling = office.begin("2")
    office.kms.denied = True
    office.renewals.renew_once(office.lease)
    assert set(office.wiped) == {office.lease, sibling}


def test_closing_cancels_what_is_scheduled() -> None:
    office = Office()
    office.renewals.close()
    assert office.clock.next_due is None


async def test_after_the_calls_are_closed_nothing_is_renewed() -> None:
    office = Office()
    office.lease.used = True
    office.calls.close()
    office.clock.advance(LEASE)
    assert office.kms.wraps == 0
    deadline = office.clock.monotonic() + 10
    flight = office.renewals.renew_for(office.lease, deadline)
    assert flight is not None
    with pytest.raises(KmsUnavailable, match="closed"):
        await flight.wait(office.clock, deadline)
    assert office.lease.flight is None
