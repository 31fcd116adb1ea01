"""What is left inline, and how much memory that may take."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverSelectContext, StorageDriverWorkflowInfo

from envelope_codec.storage.sparing import REFERENCE, ReplayMemory, Sparing
from envelope_codec.temporal.store_target import Fate, MarkedTarget, Run
from tests.support.forked_child import in_child

TARGET = StorageDriverWorkflowInfo(namespace="n", id="w")
MANY = 2**30


def payload(size: int) -> Payload:
    made = Payload(data=bytes(size))
    made.data = made.data[made.ByteSize() - size :]
    assert made.ByteSize() == size
    return made


def context(fate: Fate | None, run: Run | None = None) -> Any:
    target = TARGET if fate is None else MarkedTarget.of(TARGET, fate, run or Run())
    return StorageDriverSelectContext(target=target)


@pytest.mark.parametrize("told", [None, StorageDriverSelectContext(), context(None), context(Fate.SENT)])
def test_what_temporal_may_keep_is_stored(told: Any) -> None:
    assert not Sparing(answers=MANY, memory=MANY).spares(told, payload(10_000))


@pytest.mark.parametrize(("size", "spared"), [(9_999, True), (10_000, False), (10_001, False)])
def test_an_answer_is_stored_from_its_size_on(size: int, spared: bool) -> None:
    sparing = Sparing(answers=10_000, memory=0)
    for _ in range(3):  # nobody holds one
        assert sparing.spares(context(Fate.ANSWER), payload(size)) is spared
    assert not Sparing(answers=0, memory=MANY).spares(context(Fate.ANSWER), payload(100))


@pytest.mark.parametrize("fate", [Fate.REPEATED, Fate.LOCAL])
def test_what_the_core_holds_is_spared_while_there_is_memory(fate: Fate) -> None:
    sparing, run = Sparing(answers=0, memory=25_000), Run()
    size = 10_000 + REFERENCE
    assert [sparing.spares(context(fate, run), payload(size)) for _ in range(3)] == [True, True, False]
    assert sparing.spares(context(fate, Run()), payload(5_000 + REFERENCE)), "smaller ones go on"
    assert not Sparing(answers=MANY, memory=0).spares(context(fate), payload(100)), "0 is off"


# --- memory -----------------------------------------------------------------------------------------------------------


def test_only_what_exceeds_a_reference_counts() -> None:
    memory, run = ReplayMemory(1), Run()
    assert all(memory.admit(run, REFERENCE) for _ in range(1_000))
    assert memory.admit(run, REFERENCE + 1)
    assert not memory.admit(run, REFERENCE + 1)
    assert memory.held == 1


def test_a_workflow_that_is_given_up_makes_room() -> None:
    memory, one, other = ReplayMemory(100), Run(), Run()
    assert memory.admit(one, REFERENCE + 40)
    assert memory.admit(one, REFERENCE + 20)
    assert memory.admit(other, REFERENCE + 40)
    assert not memory.admit(other, REFERENCE + 1)
    del one
    assert memory.held == 40
    assert memory.admit(other, REFERENCE + 60)
    assert memory.held == 100
    del other
    assert memory.held == 0


def test_it_is_told_once_that_there_is_no_more(caplog: pytest.LogCaptureFixture) -> None:
    memory, run = ReplayMemory(100), Run()
    for _ in range(3):
        memory.admit(run, REFERENCE + 60)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "all of storage_replay_memory is in use" in caplog.text
    del run
    again = Run()
    for _ in range(3):
        memory.admit(again, REFERENCE + 60)
    assert len(caplog.records) == 2
    assert not ReplayMemory(0).admit(again, 1)
    assert len(caplog.records) == 2, "who has it off knows"


def test_threads_count_together() -> None:
    memory, runs = ReplayMemory(1_000), [Run() for _ in range(8)]
    ready = threading.Barrier(8)

    def take(run: Run) -> int:
        ready.wait()
        return sum(memory.admit(run, REFERENCE + 1) for _ in range(1_000))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, runs)) == 1_000
    assert memory.held == 1_000


def test_a_run_may_be_freed_while_another_is_counted() -> None:
    """The garbage collector may free it in the thread that has the lock."""
    memory = ReplayMemory(MANY)
    run = Run()
    memory.admit(run, REFERENCE + 7)
    with memory._lock:
        del run
        gc.collect()
    assert memory.held == 0


def test_a_forked_child_starts_empty() -> None:
    memory, run = ReplayMemory(100), Run()
    assert memory.admit(run, REFERENCE + 100)
    with memory._lock:
        assert in_child(lambda: (memory.held, memory.admit(Run(), REFERENCE + 100))) == (0, True)
    assert memory.held == 100
