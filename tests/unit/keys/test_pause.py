"""Pauses: callers wait together."""

from __future__ import annotations

import asyncio

import pytest

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.clock import Timer
from envelope_codec.keys.pause import Pauses
from envelope_codec.testing import ManualClock
from tests.support.keyring_on_fakes import inline, settle


class Paused:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.calls = KmsCalls(clock=self.clock, spawn=inline)
        self.pauses = Pauses(self.calls)

    def join(
        self, name: str, seconds: float, *, until: float = 1e9, error: KeyDenied | None = None
    ) -> asyncio.Task[None]:
        flight = self.pauses.join(name, seconds, until, error)
        return asyncio.ensure_future(flight.wait(self.clock, until))


async def test_all_of_one_name_wait_for_the_same_end_and_others_do_not() -> None:
    paused = Paused()
    first, second, other = paused.join("a", 5), paused.join("a", 50), paused.join("b", 50)
    await settle()
    paused.clock.advance(5)
    await settle()
    assert (first.done(), second.done(), other.done()) == (True, True, False)
    paused.pauses.end("b")
    await settle()
    assert other.done()
    assert paused.clock.next_due is None or paused.clock.next_due > 1e6


async def test_one_who_gives_up_gets_the_error_and_the_others_go_on() -> None:
    paused = Paused()
    impatient = paused.join("a", 5, until=paused.clock.monotonic() + 1, error=KeyDenied("refused"))
    patient = paused.join("a", 5)
    await settle()
    paused.clock.advance(1)
    with pytest.raises(KeyDenied, match="refused"):
        await impatient
    assert not patient.done()
    paused.clock.advance(4)
    await patient


async def test_to_end_what_is_not_there_does_nothing() -> None:
    Paused().pauses.end("a")


async def test_closing_ends_all_and_a_closed_keyring_begins_none() -> None:
    paused = Paused()
    waiting = paused.join("a", 5)
    await settle()
    paused.pauses.close()
    with pytest.raises(KmsUnavailable, match="closed"):
        await waiting
    paused.calls.close()
    with pytest.raises(KmsUnavailable, match="closed"):
        paused.pauses.join("a", 5, 1e9)


async def test_without_a_timer_there_is_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = Paused()

    def none(*arguments: object) -> Timer:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(paused.clock, "call_later", none)
    with pytest.raises(KmsUnavailable, match="no timer"):
        paused.pauses.join("a", 5, 1e9)
    assert not paused.pauses._flights
