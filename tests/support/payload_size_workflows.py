"""Workflows whose payloads are of every size."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from hashlib import sha256

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

STUCK_AT = 2
"""The piece of work at which a process hangs that is to be killed."""
SIZES = [1, 1_000, 2**20, 20 * 2**20]
_PATIENT = timedelta(seconds=100)
_AGAIN = RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1)


def load(size: int) -> bytes:
    """Some bytes."""
    return (f"marigold {size}".encode() * (size // 8 + 1))[:size]


@workflow.defn(sandboxed=False)
class Depot:
    """Has goods of every size weighed by activities and by a child, and returns what they said."""

    @workflow.run
    async def run(self, a: bytes, b: bytes, c: bytes, d: bytes) -> list[str]:
        told = []
        for goods in (a, b, c, d):
            told.append(
                await workflow.execute_activity("weigh", goods, result_type=str, start_to_close_timeout=_PATIENT)
            )
        largest: bytes = await workflow.execute_activity(
            "fetch", len(d), result_type=bytes, start_to_close_timeout=_PATIENT
        )
        told.append(await workflow.execute_child_workflow(Child.run, largest))
        return told


@workflow.defn(sandboxed=False)
class Child:
    @workflow.run
    async def run(self, goods: bytes) -> str:
        return weight(goods)


@workflow.defn(sandboxed=False)
class Shift:
    """Does one piece of work after another."""

    def __init__(self) -> None:
        self._done: list[str] = []

    @workflow.query
    def done(self) -> list[str]:
        return self._done

    @workflow.run
    async def run(self, pieces: int) -> list[str]:
        done = self._done
        for number in range(pieces):
            done.append(
                await workflow.execute_activity(
                    "work",
                    f"{workflow.info().workflow_id} {number}",
                    result_type=str,
                    start_to_close_timeout=timedelta(seconds=3),
                    retry_policy=_AGAIN,
                )
            )
        return done


def weight(goods: bytes) -> str:
    return f"{len(goods)} {sha256(goods).hexdigest()}"


@activity.defn
async def weigh(goods: bytes) -> str:
    return weight(goods)


@activity.defn
async def fetch(size: int) -> bytes:
    return load(size)


@activity.defn
async def work(piece: str) -> str:
    return f"{piece} done"


@activity.defn(name="work")
async def work_that_hangs(piece: str) -> str:
    if piece.endswith(f" {STUCK_AT}"):
        await asyncio.Event().wait()
    return f"{piece} done"
