"""A keystore that is slow holds up half of the threads at most."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.errors import KmsUnavailable
from envelope_codec.keys import lookups
from envelope_codec.keys.lookup_turns import LookupTurns
from envelope_codec.testing import FakeKeystore, FakeKms, ManualClock
from tests.support.keyring_on_fakes import wrapped_by

WAIT = 60.0


def taken(turns: LookupTurns, stack: ExitStack, count: int) -> list[bool]:
    return [stack.enter_context(turns.turn()) for _ in range(count)]


def test_so_many_have_a_turn_at_once_and_while_it_is_slow_the_others_are_told_at_once() -> None:
    clock = ManualClock()
    turns = LookupTurns(clock.monotonic)
    with ExitStack() as stack:
        assert taken(turns, stack, 16) == [True] * 16
        clock.advance(1.0)
        assert taken(turns, stack, 3) == [False] * 3
    with ExitStack() as stack:
        assert taken(turns, stack, 16) == [True] * 16


def test_while_it_is_quick_the_others_wait_for_their_turn() -> None:
    turns = LookupTurns(ManualClock().monotonic)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        others = ExitStack()
        taken(turns, stack, 15)
        taken(turns, others, 1)
        waiting = threading.Event()
        wait_for = turns._free.wait_for

        def wait(*arguments: object) -> bool:
            waiting.set()
            return wait_for(arguments[0], WAIT)  # type: ignore[arg-type]

        turns._free.wait_for = wait  # type: ignore[method-assign,assignment]
        last = pool.submit(taken, turns, stack, 1)
        assert waiting.wait(WAIT)
        others.close()
        assert last.result(WAIT) == [True]


async def test_a_keystore_that_gives_no_answer_holds_up_nobody_who_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "SECONDS", WAIT)

    class Silent(FakeKeystore):
        async def get(self, key: bytes) -> None:
            await asyncio.Event().wait()

    old, new = FakeKms("fakekms://old"), FakeKms("fakekms://new")
    keyring = EnvelopeConfig(key=new, keystore=Silent(), timeout=WAIT).keyring()
    lost = [asyncio.ensure_future(keyring.opening_key(wrapped_by(old)[0])) for _ in range(100)]
    await asyncio.sleep(0)
    record, key = wrapped_by(new)
    assert await asyncio.wait_for(keyring.opening_key(record), WAIT / 2) == key
    keyring.close()
    assert all(isinstance(error, KmsUnavailable) for error in await asyncio.gather(*lost, return_exceptions=True))
