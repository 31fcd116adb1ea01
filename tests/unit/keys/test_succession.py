"""Succession: when the next wrapping key is asked for, and what goes on while it can't be had."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.key_maker import KeyMaker
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.publication import Publication
from envelope_codec.keys.sealing_key import AtNextUse, Stage, WrappingKey
from envelope_codec.keys.slots import Slot
from envelope_codec.keys.succession import Succession
from envelope_codec.keys.vouching import Leases
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.keyring_on_fakes import Events, Jobs, inline

SCOPE = "default"
AGE, LEASE, GRACE, TTL = 1_000.0, 300.0, 3_600.0, 5.0
RIPE = 0.9 * AGE  # without jitter
RETRY = 10.0


class Line:
    """A succession over fakes, in one scope."""

    def __init__(
        self, *, backup: FakeKms | None = None, spawn: Callable[[Callable[[], None]], object] = inline
    ) -> None:
        self.clock, self.kms = ManualClock(), FakeKms()
        keys = KeySet(self.kms, () if backup is None else (backup,))
        limits = Limits(max_age=AGE, lease=LEASE, outage_grace=GRACE, refusal_ttl=TTL)
        self.calls = KmsCalls(clock=self.clock, observer=Events(), spawn=spawn, jitter=lambda: 0.0)
        self.leases = Leases(self.calls, seconds=LEASE, grace=GRACE, pause=TTL, wipe=lambda lease: None)
        maker = KeyMaker(lambda namespace: keys, lambda namespace: keys, self.calls, self.leases, verify=True)
        self.succession = Succession(
            self.calls, maker, self.leases, limits, Publication(None, self.calls, required=True)
        )

    @property
    def slot(self) -> Slot:
        return self.succession.slots.by_scope[SCOPE]

    @property
    def key(self) -> WrappingKey:
        key = self.slot.current
        assert key is not None
        return key

    @property
    def is_usable(self) -> bool:
        return self.key.is_usable(Moment.now(self.clock))

    @property
    def deadline(self) -> float:
        return self.clock.monotonic() + 30

    def begin(self) -> WrappingKey:
        """Get the first key, which seals a payload."""
        self.succession.request(SCOPE, self.deadline)
        self.key.count()
        return self.key

    def pass_time(self, seconds: float) -> None:
        """Let time pass in which the key in use seals."""
        for _ in range(round(seconds / RETRY)):
            for lease in self.key.leases:
                lease.used = True
            self.clock.advance(RETRY)


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_caller_gets_a_key_and_the_next_caller_the_same(line: Line) -> None:
    key = line.begin()
    assert line.is_usable
    assert all(SCOPE in lease.scopes for lease in key.leases)
    assert line.succession.request(SCOPE, line.deadline) is None
    assert line.kms.wraps == 1


def test_a_key_in_use_is_followed_when_it_is_ripe(line: Line) -> None:
    first = line.begin()
    line.pass_time(RIPE - RETRY)
    assert line.key is first
    line.pass_time(RETRY)
    assert line.key is not first
    assert (first.stage, line.key.stage, line.key.sealed) == (Stage.RIPE, Stage.FRESH, 0)


def test_a_key_that_seals_nothing_is_followed_at_its_next_use_only(line: Line) -> None:
    line.succession.request(SCOPE, line.deadline)
    key = line.key
    line.clock.advance(RIPE)
    assert (line.key, key.at_next_use, line.kms.wraps) == (key, AtNextUse.PREPARE, 1)


def test_a_key_that_is_no_longer_in_use_has_no_follower(line: Line) -> None:
    first = line.begin()
    first.ripen()
    line.succession.prepare(SCOPE, first)
    second = line.key
    assert second is not first
    line.succession.prepare(SCOPE, first)
    assert (line.key, line.kms.wraps) == (second, 2)


def test_a_refusal_empties_the_slot_and_is_repeated_for_a_while(line: Line) -> None:
    key = line.begin()
    line.kms.denied = True
    line.succession.prepare(SCOPE, key)
    assert (line.slot.current, line.slot.refusals) == (None, 1)
    asked = line.kms.wraps
    with pytest.raises(KeyDenied):
        line.succession.request(SCOPE, line.deadline)
    assert line.kms.wraps == asked
    line.kms.denied = False
    line.clock.advance(TTL)
    line.succession.request(SCOPE, line.deadline)
    assert line.is_usable
    assert line.slot.refusal is None


def test_in_an_outage_the_key_goes_on_past_its_age_and_the_next_follows_at_once_after_it(line: Line) -> None:
    key = line.begin()
    line.pass_time(RIPE - 2 * RETRY)
    line.kms.down = True
    line.pass_time(AGE)
    assert (line.key, line.is_usable, key.at_next_use) == (key, True, AtNextUse.WAIT)
    line.kms.down = False
    line.pass_time(3 * RETRY)
    assert line.key is not key
    assert line.is_usable


def test_an_outage_is_outlasted_for_the_grace_only(line: Line) -> None:
    key = line.begin()
    line.kms.down = True
    line.pass_time(LEASE + GRACE + RETRY)
    assert line.key is key
    assert not line.is_usable


def test_where_the_kms_answers_wrongly_the_key_goes_on_within_its_age(line: Line) -> None:
    key = line.begin()
    line.kms.fail_next(InvalidCiphertext("odd"))
    line.succession.prepare(SCOPE, key)
    assert (line.key, key.at_next_use, key.stage) == (key, AtNextUse.WAIT, Stage.FRESH)
    assert key.due == Moment(1_000.0 + AGE, 1_700_000_000.0 + AGE), "there is no extension"
    line.clock.advance(RETRY)
    assert line.key is not key


def test_a_new_key_with_fewer_recipients_does_not_replace_a_fresh_one() -> None:
    backup = FakeKms()
    line = Line(backup=backup)
    key = line.begin()
    key.at_next_use = AtNextUse.PREPARE
    backup.down = True
    line.succession.prepare(SCOPE, key)
    assert (line.key, key.at_next_use, line.kms.wraps) == (key, AtNextUse.NOTHING, 2)
    key.ripen()
    line.succession.prepare(SCOPE, key)
    assert line.key is not key
    assert len(line.key.record.recipients) == 1


async def test_a_renewal_replaces_the_key_in_use(line: Line) -> None:
    key = line.begin()
    await line.succession.renew(SCOPE, line.slot, line.deadline)
    assert line.key is not key
    assert line.is_usable


async def test_a_renewal_in_an_outage_says_so_and_the_key_goes_on(line: Line) -> None:
    key = line.begin()
    line.kms.down = True
    with pytest.raises(KmsUnavailable, match="the wrapping key in use goes on"):
        await line.succession.renew(SCOPE, line.slot, line.deadline)
    assert line.key is key
    assert line.is_usable


async def test_where_there_is_no_key_a_renewal_makes_none(line: Line) -> None:
    await line.succession.renew(SCOPE, line.succession.slots.open(SCOPE), line.deadline)
    assert (line.slot.current, line.kms.wraps) == (None, 0)


def test_a_key_that_is_made_while_the_calls_are_closed_is_not_used() -> None:
    jobs = Jobs()
    line = Line(spawn=jobs)
    line.succession.request(SCOPE, line.deadline)
    line.kms.before_call = lambda operation: line.calls.close()
    jobs.run()
    assert (line.kms.wraps, line.slot.current) == (1, None)


def test_what_is_forgotten_with_a_scope(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.keys.slots._MANY", 1)
    leases = line.begin().leases
    line.kms.down = True
    line.clock.advance(2 * (LEASE + GRACE + AGE))
    for scope in ("begins the sweep", "sweeps"):
        line.succession.slots.open(scope)
    assert SCOPE not in line.succession.slots.by_scope
    assert [lease.scopes for lease in leases] == [set()]
    assert line.clock.next_due is None
