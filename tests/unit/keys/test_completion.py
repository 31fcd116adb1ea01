"""Completion: when a key that lacks recipients is replaced, and how often."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from envelope_codec.errors import KeyDenied
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.completion import Completion
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.sealing_key import AtNextUse, Scope, Term, Wrapped, WrappingKey
from envelope_codec.keys.trial import Lack
from envelope_codec.kms import MasterKey
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.keyring_on_fakes import inline, wrapped_by

HOUR, TRIAL = 3_600.0, 60.0


class Watched:
    """A `Completion` over fakes, whose trials succeed or not as ``mended`` says."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.calls = KmsCalls(clock=self.clock, spawn=inline, jitter=lambda: 0.0)
        self.backup = FakeKms()
        self.mended = True
        self.replaced: list[Scope] = []
        self.completion = Completion(self.calls, self.attempt, lambda scope, key: self.replaced.append(scope))

    def attempt(self, master: MasterKey, context: Mapping[str, str]) -> None:
        if not self.mended:
            raise KeyDenied("no")

    def watch(self, scope: Scope, *, in_use: bool = True) -> WrappingKey:
        record, secret = wrapped_by(FakeKms(), context={"scope": str(scope)})
        lacks = (Lack(self.backup, "backup_keys[0]", KeyDenied("no")),)
        term = Term.begin(Moment.now(self.clock), 24 * HOUR, 1_000, 0.5)
        key = WrappingKey(Wrapped(record, secret, (), lacks), term)
        self.completion.watch(scope, key, lambda: in_use)
        return key

    def use(self, key: WrappingKey, seconds: float) -> None:
        """Let time pass while the key seals."""
        key.count()
        self.clock.advance(seconds)


def test_a_key_in_use_is_replaced_when_a_trial_succeeds() -> None:
    watched = Watched()
    watched.use(watched.watch("a"), TRIAL)
    assert watched.replaced == ["a"]


def test_a_key_that_is_not_used_wakes_its_trial_at_its_next_use() -> None:
    watched = Watched()
    key = watched.watch("a")
    watched.clock.advance(10 * TRIAL)
    assert (watched.replaced, key.at_next_use) == ([], AtNextUse.TRY)
    watched.completion.start_trials("a")
    assert watched.replaced == ["a"]


def test_a_key_that_is_in_use_no_more_is_not_replaced() -> None:
    watched = Watched()
    watched.use(watched.watch("a", in_use=False), 10 * TRIAL)
    assert watched.replaced == []
    assert watched.clock.next_due is None


def test_the_second_replacement_comes_an_hour_after_the_first_however_often_a_trial_succeeds() -> None:
    watched = Watched()
    watched.use(watched.watch("a"), TRIAL)
    for _ in range(3):
        watched.use(watched.watch("a"), TRIAL)
    assert watched.replaced == ["a"]
    watched.clock.advance(HOUR - 3 * TRIAL - 1)
    assert watched.replaced == ["a"]
    watched.clock.advance(1)
    assert watched.replaced == ["a", "a"]


@pytest.mark.parametrize("ending", ["forget", "close"])
def test_what_is_forgotten_or_closed_is_not_replaced_later(ending: str) -> None:
    watched = Watched()
    watched.use(watched.watch("a"), TRIAL)
    watched.use(watched.watch("a"), TRIAL)
    if ending == "forget":
        with watched.calls.lock:
            watched.completion.forget("a")
    else:
        watched.completion.close()
    watched.clock.advance(2 * HOUR)
    assert watched.replaced == ["a"]
    assert watched.clock.next_due is None


def test_what_is_remembered_of_scopes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.keys.completion._REMEMBERED", 3)
    watched = Watched()
    for number in range(10):
        watched.use(watched.watch(str(number)), TRIAL)
    assert watched.replaced == [str(number) for number in range(10)]
    assert len(watched.completion._replaced_at) == 3
