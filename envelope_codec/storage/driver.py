"""The storage driver for Temporal's SDK: payloads go to a store, sealed claims go to Temporal."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    SerializationContext,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    WorkflowSerializationContext,
)

from envelope_codec._backoff import Backoff, shorten
from envelope_codec._frames import frameless, frameless_async, place_of
from envelope_codec._loops import kept_awake, ours, running_loop
from envelope_codec._process import PerProcess, renew_after_fork
from envelope_codec.errors import (
    ConfigurationError,
    EncryptionRequired,
    EnvelopeError,
    InvalidCiphertext,
    StoreUnavailable,
)
from envelope_codec.keys.stop import stopping
from envelope_codec.observe import Event, logger, report
from envelope_codec.storage.claim import Claim
from envelope_codec.store import PayloadStore, StoreUrl
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope

_T = TypeVar("_T")

_AT_ONCE = 32  # calls of a store that one event loop has under way
_CALL = 10.0  # seconds for one call of a store, and more for what is large:
_SLOWEST = 2**20  # bytes in a second
_UNKNOWN = 50 * 2**20  # bytes, where no claim of ours tells the size
_BACKOFF = Backoff(0.1, 5.0)
_AT_SHUTDOWN = 3.0
_TO_CLOSE = 5.0
_BEFORE_CLOSE = 0.1


class Pool:
    """One configured store, opened once in each event loop that uses it."""

    @frameless
    def __init__(self, url: StoreUrl) -> None:
        store = url.open()  # what is wrong with it is told now; this asks no network
        self.name = url.name
        self.reads_plain = hasattr(store, "get_plain")
        self._url = url
        self._loops = PerProcess(lambda _: _Loops())  # not of a parent: replies would get mixed up

    def here(self) -> _Loop:
        """The store of the running event loop. It is closed with the pool, or when that loop ends.

        Raises:
            StoreUnavailable: it can't be opened, though it could be: what it needs, such as a profile, has gone.
        """
        return self._loops.get().here(self._url)

    async def aclose(self) -> None:
        """Release the connections that belong to the running event loop."""
        loops = self._loops.made
        here = loops.taken() if loops is not None else None
        if here is not None:
            await here.start_to_close()

    def close(self) -> None:
        """Release all connections, in the event loops that they belong to, as far as those still run."""
        loops = self._loops.made
        if loops is not None:
            loops.close()


class _Loops:
    """What one process has open, by event loop."""

    _lock: threading.Lock

    def __init__(self) -> None:
        renew_after_fork(self, _lock=threading.Lock)
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._said = set[str]()
        weakref.finalize(self, _close_all, self._loops).atexit = False

    def here(self, url: StoreUrl) -> _Loop:
        """The store of the running event loop."""
        loop = running_loop()
        with self._lock:
            here = self._loops.get(loop)
            if here is None:
                for other in [other for other in self._loops if other.is_closed()]:
                    del self._loops[other]
                here = self._loops[loop] = _Loop(self._opened(url))
        return here

    def _opened(self, url: StoreUrl) -> PayloadStore:
        try:
            return url.open()
        except Exception as error:
            said = error.reason if isinstance(error, ConfigurationError) else place_of(error)
        if said not in self._said:
            self._said.add(said)
            logger.error("the datastore %s can't be opened any more, and could be before: %s", url.name, said)
        raise StoreUnavailable("the datastore can't be opened any more")

    def taken(self) -> _Loop | None:
        """The same if it is open, and forgotten."""
        with self._lock:
            return self._loops.pop(asyncio.get_running_loop(), None)

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            _close_all(self._loops)


def _close_all(loops: dict[asyncio.AbstractEventLoop, _Loop]) -> None:
    for loop, here in loops.items():
        if loop.is_running():
            with suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(here.start_to_close, _BEFORE_CLOSE)
    loops.clear()


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, store: PayloadStore) -> None:
        self.store = store
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        # An event loop that ends closes its asynchronous generators, and waits for them: nothing else is sure to run.
        self._process = os.getpid()
        self._guard = self._close_at_the_end()
        with suppress(StopIteration):
            self._guard.asend(None).send(None)

    def start_to_close(self, after: float = 0.0) -> asyncio.Task[None]:
        """Close the store, once, ``after`` seconds.

        An event loop that ends cancels what it finds. Most end at once when all is closed, and then it finds this
        waiting, not half done; its end closes the store in good order.
        """
        if self._closing is None or self._closing.cancelled():
            self._closing = asyncio.get_running_loop().create_task(self._close(after))
        return self._closing

    async def _close(self, after: float) -> None:
        await asyncio.sleep(after)
        try:
            await asyncio.wait_for(self.store.close(), _TO_CLOSE)
        except Exception as error:  # the server is gone, for instance, or does not answer
            logger.debug("a datastore did not close in good order: %s", place_of(error))

    async def _close_at_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if os.getpid() == self._process:  # else the connections are the parent's
                await self.start_to_close()

    async def call(
        self,
        call: Callable[[PayloadStore], Coroutine[Any, Any, _T]],
        operation: str,
        seconds: float,
        patience: _Patience,
    ) -> _T:
        """Make one call. `StoreUnavailable` if there is no answer after ``seconds``, or if other calls keep it from
        being made for as long as ``patience`` lasts.

        A call that is given up is not waited for: client libraries take seconds to end it in good order.
        """
        if not await self._slot(patience):
            raise StoreUnavailable("the datastore did not answer", operation=operation)
        token = ours.set(True)
        try:
            task = asyncio.get_running_loop().create_task(call(self.store))
        finally:
            ours.reset(token)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        try:
            with kept_awake():
                await asyncio.wait([task], timeout=seconds)
            if task.done() and not task.cancelled():  # as it is if the store is closed meanwhile
                return task.result()
            raise StoreUnavailable("the datastore did not answer", operation=operation)
        finally:
            task.cancel()

    async def _slot(self, patience: _Patience) -> bool:
        if not self._slots.locked():
            return await self._slots.acquire()
        waiting = asyncio.get_running_loop().create_task(self._slots.acquire())
        try:
            await patience.wait_for(waiting)
        except asyncio.CancelledError:
            if not waiting.cancel():
                self._slots.release()
            raise
        return not waiting.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._slots.release()
        if not task.cancelled():
            task.exception()  # or it would be logged where nobody waits for it


class EnvelopeDriver(StorageDriver):
    """Keeps sealed payloads in a store, and gives Temporal sealed claims.

    Serves any number of event loops. What can't be reached is asked again, as long as a caller waits for a KMS.

    Args:
        pool: where to keep payloads.
        codec: seals and opens claims.
        context: where the payloads belong, as far as the SDK says.
    """

    def __init__(self, pool: Pool, codec: EnvelopeCodec, context: SerializationContext | None = None) -> None:
        limits = codec.keyring.limits
        self.pool = pool
        self.codec = codec
        self._in_context = context is not None
        # An activity would lose its heartbeat details for good, or run a second time.
        self._timeout = limits.activity_timeout if _is_activity(context) else limits.timeout

    def with_context(self, context: SerializationContext) -> EnvelopeDriver:
        """The same for payloads that belong there."""
        return EnvelopeDriver(self.pool, self.codec.with_context(context), context)

    def name(self) -> str:
        """See `StorageDriver.name`. Temporal stores it in clear."""
        return self.pool.name

    def type(self) -> str:
        """See `StorageDriver.type`."""
        return "envelope-codec"

    @frameless_async
    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """See `StorageDriver.store`. Raises `EnvelopeError` and nothing else."""
        codec = self._codec_for(context)

        async def one(payload: Payload) -> StorageDriverClaim:
            if not is_envelope(payload):
                raise EncryptionRequired("only sealed payloads are stored", operation="seal")
            data = payload.SerializeToString()
            claim = Claim.of(os.urandom(16).hex(), data)
            await self._ask("put", len(data), lambda store: store.put(claim.id, data))
            return StorageDriverClaim(await claim.sealed(codec))

        return await _together([one(payload) for payload in payloads])

    @frameless_async
    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """See `StorageDriver.retrieve`. Raises `EnvelopeError` and nothing else."""

        async def one(given: StorageDriverClaim) -> Payload:
            if self.pool.reads_plain and not Claim.is_sealed(given.claim_data):
                data = await self._ask("get", _UNKNOWN, lambda store: cast(Any, store).get_plain(given.claim_data))
            else:
                claim = await Claim.opened(given.claim_data, self.codec)
                data = await self._ask("get", claim.size, lambda store: store.get(claim.id))
                claim.check(data)
            try:
                return Payload.FromString(data)
            except DecodeError:
                raise InvalidCiphertext("what was stored is not a payload", operation="open") from None

        return await _together([one(claim) for claim in claims])

    def _codec_for(self, context: StorageDriverStoreContext) -> EnvelopeCodec:
        target = context.target
        if self._in_context:
            return self.codec
        if isinstance(target, StorageDriverWorkflowInfo):
            return self.codec.with_context(WorkflowSerializationContext(target.namespace, target.id or ""))
        if isinstance(target, StorageDriverActivityInfo):
            return self.codec.with_context(WorkflowSerializationContext(target.namespace, ""))
        return self.codec

    async def _ask(self, operation: str, size: int, call: Callable[[PayloadStore], Coroutine[Any, Any, _T]]) -> _T:
        """Make a call of the store for ``size`` bytes, and again while it can't be reached, until the deadline."""
        patience = _Patience(self._timeout)
        try:
            while True:
                begun = time.perf_counter()
                failure: StoreUnavailable
                try:
                    result = await self.pool.here().call(call, operation, _CALL + size / _SLOWEST, patience)
                    self._report(operation, "ok", begun)
                    return result
                except StoreUnavailable as error:
                    failure = error.fresh()
                except EnvelopeError as error:
                    self._report(operation, type(error).__name__, begun, str(error))
                    raise
                except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):  # a call's own is no answer, see `call`
                    raise
                except BaseException as error:  # which no store may raise
                    logger.error("the datastore %s failed unexpectedly: %s", self.pool.name, place_of(error))
                    failure = StoreUnavailable("the datastore failed unexpectedly", operation=operation)
                self._report(operation, "StoreUnavailable", begun, str(failure))
                if not await patience.again():
                    raise failure
        finally:
            patience.end()

    def _report(self, operation: str, outcome: str, begun: float, reason: str = "") -> None:
        seconds = time.perf_counter() - begun
        event = Event(operation, outcome, self.codec.namespace, self.pool.name, seconds, reason=reason)
        report(self.codec.keyring.observer, event)


def _is_activity(context: SerializationContext | None) -> bool:
    return isinstance(context, ActivitySerializationContext)


class _Patience:
    """When to try again, and whether to. A worker's shutdown makes it short."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._failures = 0
        self._hurry = asyncio.Event()
        self._shortened = False
        self._stop = stopping.get()
        self._loop = asyncio.get_running_loop()
        if self._stop is not None:
            self._stop.add(self._hurried)

    def end(self) -> None:
        """Nothing is waited for any more."""
        if self._stop is not None:
            self._stop.remove(self._hurried)

    async def again(self) -> bool:
        """Wait for the time to try again; False if that is after the deadline."""
        self._failures += 1
        wait = shorten(_BACKOFF.seconds(self._failures), random.random())  # noqa: S311
        self._shorten()
        if time.monotonic() + wait >= self._deadline:
            return False
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(wait) if self._shortened else self._hurry.wait(), wait)
        self._shorten()
        return True

    async def wait_for(self, task: asyncio.Task[Any]) -> None:
        """Until ``task`` is done, or the deadline."""
        hurry = self._loop.create_task(self._hurry.wait())
        try:
            while not task.done():
                self._shorten()
                left = self._deadline - time.monotonic()
                if left <= 0:
                    return
                waited = {task} if self._shortened else {task, hurry}
                await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()

    def _shorten(self) -> None:
        if self._hurry.is_set() and not self._shortened:
            self._shortened = True
            self._deadline = min(self._deadline, time.monotonic() + _AT_SHUTDOWN)

    def _hurried(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._hurry.set)
        except RuntimeError:
            return  # the loop is closed: nobody waits there


async def _together(work: Sequence[Awaitable[_T]]) -> list[_T]:
    """The results, in order; the first error ends the others."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
