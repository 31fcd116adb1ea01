"""The register of leases: what it knows by name, and what it tells the calls under way."""

from __future__ import annotations

import gc

import pytest

from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.lease_register import LeaseRegister
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.witness import WrapWitness
from envelope_codec.testing import FakeKms
from tests.support.flights import Desk

NOW = Moment(1_000.0, 1_700_000_000.0)
REQUEST, OTHER = Request("unwrap", 1, "key", ()), Request("unwrap", 2, "other", ())


def name_of(request: Request = REQUEST, version: str = "1") -> LeaseName:
    return LeaseName(request, version, b"", 300.0)


@pytest.fixture
def register() -> LeaseRegister:
    return LeaseRegister(Desk().calls)


def test_a_lease_is_known_by_its_name_while_something_holds_it(register: LeaseRegister) -> None:
    lease = register.begin(name_of(), NOW)
    assert register.known[name_of()] is lease
    del lease
    gc.collect()
    assert dict(register.known) == {}


def test_leases_of_one_request_are_siblings(register: LeaseRegister) -> None:
    first, second = register.begin(name_of(), NOW), register.begin(name_of(version="2"), NOW)
    other = register.begin(name_of(OTHER), NOW)
    assert first.siblings is second.siblings
    assert first.siblings is not other.siblings


def test_an_ended_lease_is_forgotten_and_the_calls_under_way_of_its_request_are_told(register: LeaseRegister) -> None:
    lease = register.begin(name_of(), NOW)
    with (
        register.call_under_way(REQUEST) as one,
        register.call_under_way(REQUEST) as another,
        register.call_under_way(OTHER) as other,
    ):
        register.end(lease)
        with register.call_under_way(REQUEST) as later:
            assert [call.ended for call in (one, another, other, later)] == [{lease.name}, {lease.name}, set(), set()]
    assert name_of() not in register.known


def test_the_lease_that_follows_an_ended_one_is_kept(register: LeaseRegister) -> None:
    ended = register.begin(name_of(), NOW)
    following = register.begin(name_of(), NOW)
    register.end(ended)
    assert register.known[name_of()] is following


def test_a_refusal_counts_for_the_calls_under_way_of_its_request(register: LeaseRegister) -> None:
    with register.call_under_way(REQUEST) as call, register.call_under_way(OTHER) as other:
        register.count_refusal(REQUEST)
        register.count_refusal(REQUEST)
        assert (call.denials, other.denials) == (2, 0)
    register.count_refusal(REQUEST)
    assert call.denials == 2


def test_a_call_that_fails_is_no_longer_under_way(register: LeaseRegister) -> None:
    with register.call_under_way(REQUEST) as first:
        with pytest.raises(ValueError, match="it fails"), register.call_under_way(REQUEST):
            raise ValueError("it fails")
        assert register.under_way == {REQUEST: {first}}
    assert register.under_way == {}


def test_a_refusal_leads_to_a_lease_of_its_request(register: LeaseRegister) -> None:
    other = register.begin(name_of(OTHER), NOW)
    other.witness = WrapWitness(FakeKms(), "other", (), "1")
    assert register.doubt(REQUEST, "1", NOW, 5.0) is None
    lease = register.begin(name_of(), NOW)
    lease.witness = WrapWitness(FakeKms(), "key", (), "1")
    assert register.doubt(REQUEST, "1", NOW, 5.0) is lease
    assert register.doubt(REQUEST, "1", NOW, 5.0) is None, "it was hurried just now"
