"""What can be wrong with a KMS that is no refusal, each for as long as the block lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.support.kms_process import Kms, Mortal, paused

AnyKms = Kms | Mortal
_DOWN, _UP = 0.1, 0.3  # seconds


@asynccontextmanager
async def stopped(kms: AnyKms) -> AsyncIterator[None]:
    """A server of the test's own is killed. Of one that all tests share, every connection breaks."""
    if isinstance(kms, Mortal):
        kms.kill()
        yield
        kms.revive()
        return
    kms.proxy.cut = True
    yield
    kms.proxy.cut = False


@asynccontextmanager
async def stalled(kms: AnyKms) -> AsyncIterator[None]:
    """The process is stopped in its tracks: connections stay open, new ones are taken, and nothing is answered."""
    with paused(kms.server):
        yield


@asynccontextmanager
async def slow(kms: AnyKms, seconds: float = 2.0) -> AsyncIterator[None]:
    """Every call takes so much longer."""
    assert isinstance(kms, Kms)
    kms.proxy.delay = seconds
    yield
    kms.proxy.delay = 0


@asynccontextmanager
async def throttling(kms: AnyKms) -> AsyncIterator[None]:
    """Half of the calls are rejected."""
    assert isinstance(kms, Kms)
    kms.proxy.throttle_half = True
    yield
    kms.proxy.throttle_half = False


@asynccontextmanager
async def flapping(kms: AnyKms) -> AsyncIterator[None]:
    """It is gone until somebody has noticed, and then it comes and goes several times a second."""
    assert isinstance(kms, Kms)

    async def flap() -> None:
        noticed = kms.proxy.broken + 2
        while True:
            kms.proxy.cut = True
            await asyncio.sleep(_DOWN)
            kms.proxy.cut = kms.proxy.broken < noticed
            await asyncio.sleep(_UP)

    task = asyncio.ensure_future(flap())
    yield
    task.cancel()
    kms.proxy.cut = False


FAULTS: dict[str, Callable[[AnyKms], AbstractAsyncContextManager[None]]] = {
    "stopped": stopped,
    "stalled": stalled,
    "slow": slow,
    "throttling": throttling,
    "flapping": flapping,
}
