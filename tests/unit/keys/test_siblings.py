"""Siblings: which lease is renewed after a refusal."""

from __future__ import annotations

import gc

import pytest

from envelope_codec.keys.flight import Flight
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.siblings import Siblings, may_hurry
from envelope_codec.keys.witness import WrapWitness
from envelope_codec.testing import FakeKms

NOW = Moment(1_000.0, 1_700_000_000.0)
LEASE, PAUSE = 300.0, 5.0
REQUEST = Request("wrap", 1, "key", ())


def lease_of(version: str = "1", *, sent: Moment = NOW) -> Lease:
    lease = Lease(LeaseName(REQUEST, version, b"", LEASE), sent)
    lease.witness = WrapWitness(FakeKms(), "key", (), version)
    return lease


def siblings_of(*leases: Lease) -> Siblings:
    siblings = Siblings()
    for lease in leases:
        siblings.add(lease)
    return siblings


def doubt(siblings: Siblings, version: str = "1", *, later: float = 0.0) -> Lease | None:
    return siblings.doubt(version, *NOW.after(later), PAUSE)


@pytest.mark.parametrize(
    ("witness", "flying", "age", "hurried", "may"),
    [
        (True, False, 0.0, None, True),
        (True, False, 0.0, PAUSE, True),
        (True, False, 0.0, PAUSE - 0.1, False),
        (False, False, 0.0, None, False),
        (True, True, 0.0, None, False),
        (True, False, LEASE, None, False),
    ],
)
def test_which_lease_a_refusal_may_hurry(
    witness: bool, flying: bool, age: float, hurried: float | None, may: bool
) -> None:
    lease = lease_of(sent=NOW.after(-age))
    if not witness:
        lease.witness = None
    lease.flight = Flight(lambda: None) if flying else None
    lease.hurried = NOW.monotonic - hurried if hurried is not None else None
    assert may_hurry(lease, *NOW, PAUSE) is may


def test_one_of_the_same_version_is_preferred() -> None:
    first, second = lease_of("1"), lease_of("2")
    assert doubt(siblings_of(first, second), "2") is second
    assert doubt(siblings_of(lease_of("1"), lease_of("2")), "3") is not None


def test_none_while_the_one_before_is_being_renewed() -> None:
    first, second = lease_of("1"), lease_of("2")
    siblings = siblings_of(first, second)
    assert doubt(siblings, "1") is first
    first.flight = Flight(lambda: None)
    assert doubt(siblings, "2") is None
    first.flight = None
    assert doubt(siblings, "2") is second


def test_the_same_one_is_hurried_once_in_a_while() -> None:
    lease = lease_of()
    siblings = siblings_of(lease)
    assert doubt(siblings) is lease
    assert doubt(siblings, later=PAUSE - 0.1) is None
    assert doubt(siblings, later=PAUSE) is lease


def test_those_that_are_gone_or_denied_are_forgotten() -> None:
    kept, denied, gone = lease_of("1"), lease_of("2"), lease_of("3")
    siblings = siblings_of(kept, denied, gone)
    denied.deny()
    del gone
    gc.collect()
    assert doubt(siblings, "2") is kept
    assert len(siblings._leases) == 1


def test_a_lease_keeps_its_siblings_alive() -> None:
    lease = lease_of()
    siblings = siblings_of(lease)
    assert lease.siblings is siblings
