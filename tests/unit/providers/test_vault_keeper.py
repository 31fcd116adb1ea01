"""The thread that keeps a Vault token alive."""

from __future__ import annotations

import gc
import os
import queue
import threading

import pytest

from envelope_codec_vault._keeper import Keeper
from tests.support.forked_child import in_child

WAIT = 60.0


class Token:
    """Tells whoever listens that it has been tended; then there is nothing to do for ``seconds``."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.tended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def tend(self) -> float:
        self.tended.put(threading.get_ident())
        return self.seconds


def thread_of(keeper: Keeper) -> threading.Thread:
    assert keeper._thread is not None
    return keeper._thread


def test_a_token_is_tended_again_and_again_in_one_thread_until_it_is_stopped() -> None:
    token, keeper = Token(), Keeper()
    keeper.start(token)
    seen = {token.tended.get(timeout=WAIT) for _ in range(3)}
    assert len(seen) == 1
    assert threading.get_ident() not in seen
    keeper.stop()
    thread_of(keeper).join(WAIT)
    assert not thread_of(keeper).is_alive()


def test_to_start_it_again_has_it_look_at_once() -> None:
    token, keeper = Token(seconds=1e9), Keeper()
    for _ in range(3):
        keeper.start(token)
        token.tended.get(timeout=WAIT)
    keeper.stop()
    thread_of(keeper).join(WAIT)


@pytest.mark.slow
def test_it_ends_with_what_it_tends() -> None:
    token, keeper = Token(seconds=1e9), Keeper()
    tended = token.tended
    keeper.start(token)
    tended.get(timeout=WAIT)
    del token
    gc.collect()
    thread_of(keeper).join(WAIT)
    assert not thread_of(keeper).is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_has_a_thread_of_its_own() -> None:
    token, keeper = Token(seconds=1e9), Keeper()
    keeper.start(token)
    token.tended.get(timeout=WAIT)

    def child() -> bool:
        mine = Token(seconds=1e9)
        keeper.start(mine)
        return bool(mine.tended.get(timeout=WAIT))

    assert in_child(child)
    keeper.stop()
    thread_of(keeper).join(WAIT)


def test_what_is_stopped_is_not_started_again() -> None:
    keeper = Keeper()
    keeper.stop()
    keeper.start(Token())
    assert keeper._thread is None
