"""Workers that start spread their first KMS call; whoever needs none does not wait."""

from __future__ import annotations

import asyncio
import threading

import pytest

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.errors import KmsUnavailable
from envelope_codec.temporal.worker_start import prewarm_worker
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import Ring, settle

HOUR = 3_600.0


@pytest.fixture(params=["wrapping-key", "direct"])
def wrapping(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ring(wrapping: str) -> Ring:
    return Ring(direct=wrapping == "direct")


async def start(ring: Ring, seconds: float, place: str = "default") -> None:
    await ring.keyring.pause_at_start(place, seconds)
    await ring.keyring.prewarm(place)


async def test_a_first_call_is_waited_for(wrapping: str) -> None:
    here = ring(wrapping)
    starting = asyncio.ensure_future(start(here, 10))
    await settle()
    here.clock.advance(9)
    await settle()
    assert here.calls == (0, 0)
    here.clock.advance(1)
    await settle()
    assert starting.done()
    assert here.kms.wraps == 1


async def test_a_worker_whose_key_is_at_hand_does_not_wait(wrapping: str) -> None:
    """As that of a client which has started workflows, or of another worker."""
    plugin = EnvelopePlugin(EnvelopeConfig(key=FakeKms(), wrapping=wrapping, startup_jitter=24 * HOUR))
    with plugin:
        await plugin.keyring.sealing_key("default")
        await asyncio.wait_for(prewarm_worker(plugin.keyring, "default", 24 * HOUR), 10)


async def test_a_worker_that_starts_later_does_not_wait(wrapping: str) -> None:
    """Even if the lease has lapsed, for want of use, and the KMS has to be asked."""
    here = ring(wrapping)
    await here.finish(start(here, 10))
    here.clock.advance(HOUR)
    before = here.clock.monotonic()
    await here.finish(start(here, 10))
    assert here.clock.monotonic() == before


async def test_workers_that_start_together_wait_together(wrapping: str) -> None:
    here = ring(wrapping)
    starting = [asyncio.ensure_future(start(here, seconds)) for seconds in (5, 10, 1_000)]
    await settle()
    here.clock.advance(5)
    await settle()
    assert all(task.done() for task in starting)
    assert here.kms.wraps == 1


async def test_a_client_that_seals_meanwhile_waits_for_nobody_and_ends_the_wait(wrapping: str) -> None:
    here = ring(wrapping)
    starting = asyncio.ensure_future(start(here, 10))
    await settle()
    await here.keyring.sealing_key("default")
    await settle()
    assert starting.done()
    assert here.kms.wraps == 1


async def test_another_namespace_is_another_first_call(wrapping: str) -> None:
    here = ring(wrapping)
    await here.seal()
    starting = asyncio.ensure_future(start(here, 10, "another"))
    await settle()
    assert not starting.done()
    here.clock.advance(10)
    await starting


async def test_it_can_be_cancelled_and_ends_with_the_keyring(wrapping: str) -> None:
    here = ring(wrapping)
    one, other = (asyncio.ensure_future(start(here, 10)) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    assert one.cancelled()
    here.keyring.close()
    with pytest.raises(KmsUnavailable, match="closed"):
        await other


def test_workers_in_several_threads_wait_together(wrapping: str) -> None:
    here = ring(wrapping)
    ready = threading.Barrier(5)
    ended: list[bool] = []

    async def run() -> None:
        task = asyncio.ensure_future(start(here, 10))
        await settle()
        await asyncio.to_thread(ready.wait)
        await task
        ended.append(True)

    threads = [threading.Thread(target=lambda: asyncio.run(run())) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    here.clock.advance(10)
    for thread in threads:
        thread.join(20)
    assert len(ended) == 4
    assert here.kms.wraps == 1
