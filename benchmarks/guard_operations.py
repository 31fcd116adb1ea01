"""The operations that the guard measures: ours and the static-key codec's, in turns, in one process."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic, thread_time

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, WorkflowSerializationContext

from benchmarks.guard_verdict import Ratio
from benchmarks.static_key import StaticKeyCodec
from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.testing import FakeKms

ROUNDS = 60
ENOUGH, SECONDS = 20, 15.0  # rounds after which a busy machine may stop, once so much time has passed
WARM_UP = 3  # rounds that do not count
_ROUND = 0.002  # seconds
_UNTIMED = 20  # calls before each round, which find the other side's code and data in the processor's caches

Call = Callable[[], Awaitable[object]]


@dataclass
class Operation:
    """The same done by two codecs.

    Attributes:
        ours: one call of this library's codec.
        theirs: one call of the static-key codec.
        slower: the share by which to pretend that ours is slower.
        rounds: seconds a call that each round took, ours and theirs.
    """

    ours: Call
    theirs: Call
    slower: float = 0.0
    rounds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    @property
    def ratio(self) -> Ratio:
        """What the rounds so far say."""
        return Ratio.of(*self.rounds)

    async def round(self, number: int, times: tuple[int, int]) -> None:
        """Measure both once more, the one first that was second before."""
        sides = ((0, self.ours), (1, self.theirs))
        for side, call in sides if number % 2 else reversed(sides):
            for _ in range(min(_UNTIMED, times[side])):
                await call()
            begun = thread_time()
            for _ in range(times[side]):
                await call()
            if self.slower and side == 0:
                end = thread_time() + (thread_time() - begun) * self.slower
                while thread_time() < end:
                    pass
            self.rounds[side].append((thread_time() - begun) / times[side])

    async def times(self) -> tuple[int, int]:
        """Return how many calls of either make up a round, so that rounds of both take as long.

        On a busy machine a shorter round is undisturbed more often: with as many calls, the cheaper side would seem
        cheaper still.
        """
        found = []
        for call in (self.ours, self.theirs):
            begun = thread_time()
            for _ in range(20):
                await call()
            found.append(max(2, min(400, int(_ROUND * 20 / max(1e-6, thread_time() - begun)))))
        return found[0], found[1]


class Operations:
    """All operations, on codecs of their own.

    Args:
        slower: the share by which to pretend that ours is slower. For seeing the guard fail.
    """

    def __init__(self, slower: float = 0.0) -> None:
        self._slower = slower
        self._kms = FakeKms()
        self._codec = EnvelopeCodec(EnvelopeConfig(key=self._kms))
        self._static = StaticKeyCodec()

    async def measure(self, only: Sequence[str] | None = None) -> dict[str, Ratio]:
        """Return the ratio of each operation, or of those named."""
        operations = {name: op for name, op in (await self._prepare()).items() if only is None or name in only}
        times = {name: await operation.times() for name, operation in operations.items()}
        end = monotonic() + SECONDS
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            for number in range(WARM_UP + ROUNDS):
                for name, operation in operations.items():
                    await operation.round(number, times[name])
                if number == WARM_UP - 1:
                    for operation in operations.values():
                        operation.rounds = ([], [])
                if number >= WARM_UP + ENOUGH and monotonic() > end:
                    break
                gc.collect()
        finally:
            gc.enable()
            gc.unfreeze()
        return {name: operation.ratio for name, operation in operations.items()}

    def close(self) -> None:
        """Close the codec."""
        self._codec.close()

    async def _prepare(self) -> dict[str, Operation]:
        """No larger payloads: whether the C library keeps or returns their memory makes half of what they cost."""
        found: dict[str, Operation] = {}
        for name, count in (("1 KiB", 1), ("50 x 1 KiB", 50)):
            plain = [Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(1 << 10)) for _ in range(count)]
            mine, other = await self._codec.encode(plain), await self._static.encode(plain)
            found[f"encode {name}"] = self._pair(_encoding(self._codec, plain), _encoding(self._static, plain))
            found[f"decode {name}"] = self._pair(_decoding(self._codec, mine), _decoding(self._static, other))
            if name == "1 KiB":
                found["with_context"] = self._pair(_contexts(self._codec), _encoding(self._static, plain))
        return found

    def _pair(self, ours: Call, theirs: Call) -> Operation:
        return Operation(ours, theirs, self._slower)


def _encoding(codec: PayloadCodec, payloads: Sequence[Payload]) -> Call:
    return lambda: codec.encode(payloads)


def _decoding(codec: PayloadCodec, payloads: Sequence[Payload]) -> Call:
    return lambda: codec.decode(payloads)


def _contexts(codec: EnvelopeCodec) -> Call:
    """Ask for the codec of a context 20 times, as the SDK does for about every payload twice."""
    context = WorkflowSerializationContext("default", "workflow")

    async def call() -> None:
        for _ in range(20):
            codec.with_context(context)

    return call


def measure(slower: float = 0.0, only: Sequence[str] | None = None) -> dict[str, Ratio]:
    """Measure all operations once, or those named."""
    operations = Operations(slower)
    try:
        return asyncio.run(operations.measure(only))
    finally:
        operations.close()
