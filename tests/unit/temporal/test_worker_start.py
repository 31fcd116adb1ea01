"""Workers that start spread their first KMS call and poll once there is a key, and their shutdown waits for no KMS."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest
from temporalio.worker import Worker

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.stop import stopping
from envelope_codec.temporal.worker_start import prewarm_or_end, prewarm_worker, run_until_stopped
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import Ring, settle

HOUR = 3_600.0


@pytest.fixture(params=["wrapping-key", "direct"])
def wrapping(request: pytest.FixtureRequest) -> Any:
    return request.param


def ring(wrapping: str) -> Ring:
    return Ring(direct=wrapping == "direct")


async def start(ring: Ring, seconds: float, place: str = "default") -> None:
    await ring.keyring.pause_at_start(place, seconds)
    await ring.keyring.prewarm(place)


async def test_a_first_call_is_waited_for(wrapping: Any) -> None:
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


async def test_a_worker_whose_key_is_at_hand_does_not_wait(wrapping: Any) -> None:
    """As that of a client which has started workflows, or of another worker."""
    plugin = EnvelopePlugin(EnvelopeConfig(key=FakeKms(), wrapping=wrapping, startup_jitter=24 * HOUR))
    with plugin:
        await plugin.keyring.sealing_key("default")
        await asyncio.wait_for(prewarm_worker(plugin.keyring, "default", 24 * HOUR), 10)


async def test_a_worker_that_starts_later_does_not_wait(wrapping: Any) -> None:
    """Even if the lease has lapsed, for want of use, and the KMS has to be asked."""
    here = ring(wrapping)
    await here.finish(start(here, 10))
    here.clock.advance(HOUR)
    before = here.clock.monotonic()
    await here.finish(start(here, 10))
    assert here.clock.monotonic() == before


async def test_workers_that_start_together_wait_together(wrapping: Any) -> None:
    here = ring(wrapping)
    starting = [asyncio.ensure_future(start(here, seconds)) for seconds in (5, 10, 1_000)]
    await settle()
    here.clock.advance(5)
    await settle()
    assert all(task.done() for task in starting)
    assert here.kms.wraps == 1


async def test_a_client_that_seals_meanwhile_waits_for_nobody_and_ends_the_wait(wrapping: Any) -> None:
    here = ring(wrapping)
    starting = asyncio.ensure_future(start(here, 10))
    await settle()
    await here.keyring.sealing_key("default")
    await settle()
    assert starting.done()
    assert here.kms.wraps == 1


async def test_another_namespace_is_another_first_call(wrapping: Any) -> None:
    here = ring(wrapping)
    await here.seal()
    starting = asyncio.ensure_future(start(here, 10, "another"))
    await settle()
    assert not starting.done()
    here.clock.advance(10)
    await starting


async def test_it_can_be_cancelled_and_ends_with_the_keyring(wrapping: Any) -> None:
    here = ring(wrapping)
    one, other = (asyncio.ensure_future(start(here, 10)) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    assert one.cancelled()
    here.keyring.close()
    with pytest.raises(KmsUnavailable, match="closed"):
        await other


def test_workers_in_several_threads_wait_together(wrapping: Any) -> None:
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


# --- the start and the end of a run -----------------------------------------------------------------------------------


async def test_the_error_that_ends_a_worker_names_the_setting_and_the_key(caplog: pytest.LogCaptureFixture) -> None:
    kms = FakeKms("fakekms://1")
    kms.denied = True
    with EnvelopePlugin(EnvelopeConfig(namespaces={"prod": {"key": kms}})) as plugin:
        with pytest.raises(KeyDenied) as refused:
            await prewarm_worker(plugin.keyring, "prod", 0)
        assert str(refused.value).startswith("namespaces.prod.key: the master key is disabled (key fakekms://1); ")
        assert refused.value.setting == "namespaces.prod.key"
        assert refused.value.__context__ is None or refused.value.__suppress_context__
    assert f"the worker can't start: {refused.value}" in caplog.text


class Poller:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def drain_poll_queue(self) -> None:
        self.log.append("drained")


class Bridge:
    """Stands for the SDK's core."""

    def __init__(self, log: list[str], error: Exception | None) -> None:
        self.log = log
        self.error = error

    def initiate_shutdown(self) -> None:
        self.log.append("shutdown")
        if self.error is not None:
            raise self.error

    async def finalize_shutdown(self) -> None:
        self.log.append("finalized")


class NotConnected:
    """Stands for a worker: the SDK makes none without a server. It has what is used of the SDK's own."""

    def __init__(self, error: Exception | None = None) -> None:
        self.log: list[str] = []
        self._shutdown_event = asyncio.Event()
        self._shutdown_complete_event = asyncio.Event()
        self._bridge_worker = Bridge(self.log, error)
        self._workflow_worker = Poller(self.log)
        self._activity_worker = Poller(self.log)
        self._nexus_worker = None

    @property
    def ended(self) -> bool:
        return self._shutdown_complete_event.is_set()

    async def shutdown(self) -> None:
        self._shutdown_event.set()


ENDED = ["shutdown", "drained", "drained", "finalized"]


def as_worker(stand_in: object) -> Worker:
    return cast(Worker, stand_in)


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_worker_may_run_when_it_has_its_key() -> None:
    async def prewarming() -> None:
        pass

    worker = NotConnected()
    assert await prewarm_or_end(as_worker(worker), prewarming())
    assert worker.log == []
    assert not worker.ended


async def test_a_worker_that_is_shut_down_first_ends_without_its_key() -> None:
    worker = NotConnected()
    waiting = asyncio.ensure_future(prewarm_or_end(as_worker(worker), never()))
    await settle()
    await worker.shutdown()
    assert await waiting is False
    assert worker.log == ENDED
    assert worker.ended


async def test_a_worker_that_gets_no_key_ends_with_the_error() -> None:
    async def prewarming() -> None:
        raise KeyDenied("the key is disabled")

    worker = NotConnected()
    with pytest.raises(KeyDenied):
        await prewarm_or_end(as_worker(worker), prewarming())
    assert worker.log == ENDED
    assert worker.ended


async def test_a_worker_whose_start_is_cancelled_ends() -> None:
    worker = NotConnected()
    waiting = asyncio.ensure_future(prewarm_or_end(as_worker(worker), never()))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert worker.log == ENDED
    assert worker.ended


async def test_an_end_that_fails_is_logged_and_hides_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def prewarming() -> None:
        raise KeyDenied("the key is disabled")

    worker = NotConnected(RuntimeError("the core's words"))
    with pytest.raises(KeyDenied):
        await prewarm_or_end(as_worker(worker), prewarming())
    assert worker.log == ["shutdown"]
    assert worker.ended
    assert "a worker that never ran could not be shut down" in caplog.text
    assert "the core's words" in caplog.text


async def test_an_sdk_without_these_parts_needs_no_end() -> None:
    async def prewarming() -> None:
        raise KeyDenied("the key is disabled")

    with pytest.raises(KeyDenied):
        await prewarm_or_end(as_worker(object()), prewarming())


async def test_tasks_of_a_worker_know_when_it_stops() -> None:
    async def run() -> None:
        seen.append(stopping.get())
        await done.wait()
        seen.append("ended")

    seen: list[Any] = []
    done, worker = asyncio.Event(), NotConnected()
    running = asyncio.ensure_future(run_until_stopped(as_worker(worker), run()))
    await settle()
    [stop] = seen
    assert not stop.is_set
    await worker.shutdown()
    await settle()
    assert stop.is_set
    assert not running.done(), "the worker ends its run itself"
    done.set()
    await running
    assert seen == [stop, "ended"]
    assert stopping.get() is None


async def test_a_run_that_ends_by_itself_or_fails_is_the_end() -> None:
    async def run(error: Exception | None) -> None:
        seen.append(stopping.get())
        if error is not None:
            raise error

    seen: list[Any] = []
    await run_until_stopped(as_worker(NotConnected()), run(None))
    with pytest.raises(RuntimeError, match="it failed"):
        await run_until_stopped(as_worker(object()), run(RuntimeError("it failed")))
    assert all(stop.is_set for stop in seen)


async def test_who_cancels_a_run_cancels_the_worker_and_waits_for_its_end() -> None:
    async def run() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            seen.append(stopping.get())
            raise

    seen: list[Any] = []
    running = asyncio.ensure_future(run_until_stopped(as_worker(NotConnected()), run()))
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    [stop] = seen
    assert stop.is_set
