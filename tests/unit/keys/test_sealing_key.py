"""A wrapping key: its stages, its count, and when it is due."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest

from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.sealing_key import (
    STAGE_AFTER,
    AtNextUse,
    SealingKey,
    Stage,
    Term,
    Turn,
    Wrapped,
    WrappingKey,
)
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import wrapped_by

NOW = Moment(1_000.0, 1_700_000_000.0)
AGE, LEASE, GRACE = 100.0, 10.0, 20.0


def lease_of(sent: Moment = NOW, version: str = "1") -> Lease:
    return Lease(LeaseName(Request("unwrap", 1, "key", ()), version, b"", LEASE), sent)


def key_with(*leases: Lease, max_payloads: int = 10) -> WrappingKey:
    record, key = wrapped_by(FakeKms())
    return WrappingKey(Wrapped(record, key, leases, ()), Term.begin(NOW, AGE, max_payloads, 1.0))


AFTER = {
    Stage.FRESH: (Stage.RIPE, Stage.SPENT, Stage.RIPE),
    Stage.RIPE: (Stage.RIPE, Stage.SPENT, Stage.RIPE),
    Stage.SPENT: (Stage.SPENT, Stage.SPENT, Stage.OVERDRAWN),
    Stage.OVERDRAWN: (Stage.OVERDRAWN, Stage.OVERDRAWN, Stage.OVERDRAWN),
}
"""By stage: what follows `Turn.RIPEN`, `Turn.SPEND` and `Turn.OVERDRAW`."""


@pytest.mark.parametrize(("stage", "turn"), [*itertools.product(Stage, Turn)])
def test_each_stage_and_what_follows_it(stage: Stage, turn: Turn) -> None:
    key = key_with(lease_of())
    key.stage = stage
    turns: dict[Turn, Callable[[], object]] = {
        Turn.RIPEN: key.ripen,
        Turn.SPEND: key.spend,
        Turn.OVERDRAW: lambda: key.extend(NOW.after(AGE), 1.0, GRACE),
    }
    turns[turn]()
    assert key.stage is AFTER[stage][list(Turn).index(turn)]


def test_no_key_becomes_fresh_again() -> None:
    assert Stage.FRESH not in STAGE_AFTER.values()


def test_a_new_key_is_fresh_and_not_used() -> None:
    key = key_with(lease_of())
    assert (key.stage, key.at_next_use, key.is_used, key.sealed) == (Stage.FRESH, AtNextUse.NOTHING, False, 0)
    assert [key.count() for _ in range(3)] == [1, 2, 3]
    assert (key.is_used, key.sealed) == (True, 3)


@pytest.mark.parametrize(
    ("monotonic", "time", "stage", "due"),
    [
        (0.0, 0.0, Stage.FRESH, False),
        (AGE - 0.1, AGE - 0.1, Stage.RIPE, False),
        (AGE, 0.0, Stage.FRESH, True),
        (0.0, AGE, Stage.FRESH, True),
        (0.0, 0.0, Stage.SPENT, True),
        (0.0, 0.0, Stage.OVERDRAWN, False),
        (AGE, AGE, Stage.OVERDRAWN, True),
    ],
)
def test_it_is_due_by_either_clock_or_when_it_is_spent(monotonic: float, time: float, stage: Stage, due: bool) -> None:
    key = key_with(lease_of())
    key.stage = stage
    assert key.is_due(NOW.monotonic + monotonic, NOW.time + time) is due


@pytest.mark.parametrize(
    ("later", "seconds", "stage", "due"),
    [
        (0.0, 30.0, Stage.FRESH, AGE),  # it is not due before its time
        (0.0, 300.0, Stage.FRESH, 300.0),
        (AGE, 30.0, Stage.RIPE, AGE + 30.0),
    ],
)
def test_an_outage_extends_it_and_never_shortens_it(later: float, seconds: float, stage: Stage, due: float) -> None:
    key = key_with(lease_of())
    assert key.extend(NOW.after(later), seconds, math.inf)
    assert (key.stage, key.due) == (stage, NOW.after(due))


def test_an_outage_extends_it_by_the_grace_at_most_and_once() -> None:
    key = key_with(lease_of())
    for later in (AGE - 1.0, AGE, AGE + GRACE - 1.0):
        assert key.extend(NOW.after(later), 30.0, GRACE)
        assert key.due == NOW.after(min(later + 30.0, AGE + GRACE))
    for later in (AGE + GRACE, AGE + 2 * GRACE):
        assert not key.extend(NOW.after(later), 30.0, GRACE)
    assert key.due == NOW.after(AGE + GRACE)


def test_without_grace_an_outage_extends_nothing() -> None:
    key = key_with(lease_of())
    assert key.extend(NOW.after(AGE - 1.0), 30.0, 0.0)
    assert not key.extend(NOW.after(AGE), 30.0, 0.0)
    key.spend()
    assert key.due == NOW.after(AGE)


def test_what_has_sealed_enough_goes_on_for_the_grace_although_it_is_young() -> None:
    key = key_with(lease_of())
    key.spend()
    for later in (0.0, GRACE - 1.0):
        assert key.extend(NOW.after(later), 30.0, GRACE)
        assert (key.stage, key.due) == (Stage.OVERDRAWN, NOW.after(GRACE))
    assert not key.extend(NOW.after(GRACE), 30.0, GRACE)
    assert key.is_due(*NOW.after(GRACE))


def test_in_an_outage_of_the_kms_the_leases_end_it_and_the_grace_of_the_keystore_counts_all_the_same() -> None:
    key = key_with(lease_of())
    key.spend()
    assert key.extend(NOW.after(0.0), 30.0, math.inf)
    assert (key.stage, key.due) == (Stage.OVERDRAWN, NOW.after(AGE))
    assert key.extend(NOW.after(GRACE - 1.0), 30.0, GRACE)
    assert key.due == NOW.after(GRACE)
    assert key.extend(NOW.after(GRACE + 1.0), 30.0, math.inf)
    assert not key.extend(NOW.after(GRACE + 2.0), 30.0, GRACE)
    assert key.is_due(*NOW.after(GRACE + 2.0))


def test_the_grace_ends_by_either_clock() -> None:
    key = key_with(lease_of())
    suspended = Moment(NOW.monotonic, NOW.time + AGE + GRACE)
    assert not key.extend(suspended, 30.0, GRACE)


def test_it_is_usable_under_any_live_lease() -> None:
    old, new = lease_of(NOW.after(-LEASE)), lease_of(version="2")
    assert key_with(old, new).live_lease(*NOW) is new
    assert key_with(old, new).is_usable(NOW)
    assert key_with(old).live_lease(*NOW) is None
    assert not key_with(old).is_usable(NOW)
    assert not key_with().is_usable(NOW)
    assert not key_with(new).is_usable(Moment(NOW.monotonic, math.inf))


def test_it_is_denied_once_all_leases_are() -> None:
    first, second = lease_of(), lease_of(version="2")
    key = key_with(first, second)
    first.deny()
    assert not key.is_denied()
    second.deny()
    assert key.is_denied()


def test_the_key_has_no_repr() -> None:
    record, key = wrapped_by(FakeKms())
    wrapped = Wrapped(record, key, (), ())
    for shown in (repr(wrapped), str(wrapped), repr(SealingKey(wrapped)), repr(key_with())):
        assert repr(key) not in shown
        assert key.hex() not in shown
