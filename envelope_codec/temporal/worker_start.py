"""The start and the end of a worker's run. It polls once there is a sealing key, and its shutdown waits for no KMS."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Coroutine
from typing import Any

from temporalio.worker import Worker

from envelope_codec._frames import text_of
from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.stop import Stop, stopping
from envelope_codec.observe import fix, logger


async def prewarm_worker(keyring: Keyring, namespace: str, jitter: float) -> None:
    """Get the key that a worker of ``namespace`` seals with.

    Args:
        keyring: where the key comes from.
        namespace: the worker's.
        jitter: seconds, at most, of a random wait before the process's first KMS call. It spreads a deploy's load.

    Raises:
        EnvelopeError: there is no key. The error ends the worker and gets into no history. So its text names the
            setting and the key, and says what to do.
    """
    try:
        await keyring.pause_at_start(namespace, random.uniform(0, jitter))  # noqa: S311 - no secret depends on it
        await keyring.prewarm(namespace)
    except EnvelopeError as error:
        advice = fix(type(error).__name__)
        text = f"{error.setting or 'key'}: {error} (key {error.key_id or '-'}){f'; {advice}' if advice else ''}"
        detailed = type(error)(text, operation=error.operation, key_id=error.key_id)
        detailed.setting = error.setting
        logger.error("the worker can't start: %s", detailed)
        raise detailed from None


async def run_until_stopped(worker: Worker, running: Awaitable[None]) -> None:
    """Await ``running``, the run of ``worker``. Once shutdown is asked for, nothing in it waits for a KMS for long."""
    stop = Stop()
    token = stopping.set(stop)
    try:
        run = asyncio.ensure_future(running)  # has a copy of this context, and gives it to every task of the worker
    finally:
        stopping.reset(token)
    watch = _watch_shutdown(worker)
    try:
        await asyncio.wait([run, watch] if watch else [run], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        run.cancel()  # which begins the worker's shutdown
    finally:
        stop.set()
        if watch is not None:
            watch.cancel()
    await run


async def prewarm_or_end(worker: Worker, prewarming: Coroutine[Any, Any, None]) -> bool:
    """Wait until ``worker`` may begin to run, or has nothing to run for any more.

    Args:
        worker: has polled nothing yet.
        prewarming: gets the sealing key. It is cancelled where it is not done in time.

    Returns:
        True if ``prewarming`` is done. False if the worker's shutdown came first: the worker has ended then.

    Raises:
        Whatever ``prewarming`` raises. The worker has ended then.
    """
    prewarmed = asyncio.ensure_future(prewarming)
    watch = _watch_shutdown(worker)
    waiting: list[asyncio.Future[Any]] = [prewarmed, watch] if watch else [prewarmed]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if prewarmed.done():
            prewarmed.result()
            return True
    except BaseException:
        await _end(worker)
        raise
    finally:
        for task in waiting:
            task.cancel()
    await _end(worker)
    return False


def _watch_shutdown(worker: Worker) -> asyncio.Future[Any] | None:
    """Return what is done when the worker's shutdown is asked for. None where an SDK has no such event."""
    requested = getattr(worker, "_shutdown_event", None)
    return asyncio.ensure_future(requested.wait()) if isinstance(requested, asyncio.Event) else None


async def _end(worker: Worker) -> None:
    """End a worker that never ran.

    The SDK has no public way: its own shutdown waits for a run to end, ``async with worker`` would wait for ever, and
    no other worker could ever be made for the task queue with this client.
    """
    try:
        bridge = getattr(worker, "_bridge_worker", None)
        if bridge is not None:
            bridge.initiate_shutdown()
            names = ("_workflow_worker", "_activity_worker", "_nexus_worker")
            pollers = [poller for poller in (getattr(worker, name, None) for name in names) if poller is not None]
            # The core's end waits until each poller has been told that there is nothing more.
            await asyncio.gather(*(poller.drain_poll_queue() for poller in pollers))
            await bridge.finalize_shutdown()
    except Exception as error:
        logger.warning("a worker that never ran could not be shut down: %s", text_of(error))
    finally:
        ended = getattr(worker, "_shutdown_complete_event", None)
        if isinstance(ended, asyncio.Event):
            ended.set()
