"""Rate limits fill evenly, in bounded memory."""

from __future__ import annotations

import pytest

from envelope_codec.server.web.limiter import Limiter
from tests.support.manual_clock import Hand


def test_a_bucket_fills_evenly() -> None:
    clock = Hand()
    limiter = Limiter("6/minute", clock=clock)
    assert [limiter.take("ada") for _ in range(6)] == [0] * 6
    assert limiter.take("ada") == pytest.approx(10)
    assert limiter.take("bob") == 0
    clock.now += 9.9
    assert limiter.take("ada")
    clock.now += 0.2
    assert not limiter.take("ada")
    assert limiter.take("ada")
    limiter.give_back("ada")
    assert not limiter.take("ada")
    limiter.give_back("nobody")
    clock.now += 60
    assert [bool(limiter.take("ada")) for _ in range(7)] == [False] * 6 + [True]
    assert not any(Limiter(None).take("ada") for _ in range(1_000))


def test_no_flood_of_names_takes_memory() -> None:
    limiter = Limiter("1/day", callers=100)
    assert not limiter.take("ada")
    for n in range(1_000):
        limiter.take(f"mallory-{n}")
    assert len(limiter._owed) == 100
