"""The storage driver for Temporal's SDK: payloads go to a store, sealed claims go to Temporal."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
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

from envelope_codec._frames import frameless_async, place_of
from envelope_codec.errors import EncryptionRequired, EnvelopeError, InvalidCiphertext, StoreUnavailable
from envelope_codec.observe import Event, logger, report
from envelope_codec.storage.claim import Claim, is_sealed
from envelope_codec.storage.pool import Pool
from envelope_codec.storage.retry import Retry
from envelope_codec.store import PayloadStore, get_within
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope
from envelope_codec.temporal.large_payloads import work_on

_T = TypeVar("_T")

# The time for one call of a store: so many seconds, and one more for each so many bytes.
_CALL_SECONDS = 10.0
_BYTES_A_SECOND = 2**20
_UNKNOWN_SIZE = 50 * 2**20  # bytes, where no claim of this library tells the size


class EnvelopeDriver(StorageDriver):
    """A storage driver that keeps sealed payloads in a store, and gives Temporal sealed claims.

    It serves any number of event loops. A store that can't be reached is asked again for as long as a caller would wait
    for a KMS.

    Args:
        pool: the store to keep payloads in.
        codec: seals and opens claims.
        context: where the payloads belong; None if the SDK does not say.
    """

    def __init__(self, pool: Pool, codec: EnvelopeCodec, context: SerializationContext | None = None) -> None:
        limits = codec.keyring.limits
        self.pool = pool
        self.codec = codec
        self._in_context = context is not None
        # An activity would lose its heartbeat details for good, or run a second time.
        is_activity = isinstance(context, ActivitySerializationContext)
        self._timeout = limits.activity_timeout if is_activity else limits.timeout
        self._variants: dict[tuple[EnvelopeCodec, bool], EnvelopeDriver] = {}

    def with_context(self, context: SerializationContext) -> EnvelopeDriver:
        """Return the driver for payloads that belong to ``context``. There is one for each variant of the codec."""
        codec = self.codec.with_context(context)
        place = codec, isinstance(context, ActivitySerializationContext)
        found = self._variants.get(place)
        if found is not None:
            return found
        made = EnvelopeDriver(self.pool, codec, context)
        if not codec.has_lasting_variants:
            return made
        made._variants = self._variants  # or those of the variants would never end
        return self._variants.setdefault(place, made)

    def name(self) -> str:
        """Return the store's name. Temporal keeps it, in clear, in each reference."""
        return self.pool.name

    def type(self) -> str:
        """Return the kind of driver, for the SDK's own records."""
        return "envelope-codec"

    @frameless_async
    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Store sealed payloads, and return a claim for each. Raises `EnvelopeError` and nothing else."""
        codec = self._codec_for(context)

        async def store_one(payload: Payload) -> StorageDriverClaim:
            if not is_envelope(payload):
                raise EncryptionRequired("only sealed payloads are stored", operation="seal")
            data = payload.SerializeToString()
            claim = await work_on(partial(Claim.of, os.urandom(16).hex()), data)
            await self._call("put", len(data), lambda store: store.put(claim.id, data))
            return StorageDriverClaim(await claim.seal(codec))

        return await _gather([store_one(payload) for payload in payloads])

    @frameless_async
    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Fetch the payload of each claim. Raises `EnvelopeError` and nothing else."""

        async def retrieve_one(given: StorageDriverClaim) -> Payload:
            if self.pool.reads_plain and not is_sealed(given.claim_data):
                most = max(_UNKNOWN_SIZE, self.codec.config.max_payload)
                data = await self._call(
                    "get", _UNKNOWN_SIZE, lambda store: cast(Any, store).get_plain(given.claim_data, most)
                )
            else:
                claim = await Claim.open(given.claim_data, self.codec)
                data = await self._call("get", claim.size, lambda store: get_within(store, claim.id, claim.size))
                await work_on(claim.check, data)
            try:
                return Payload.FromString(data)
            except (DecodeError, UnicodeDecodeError):  # the latter is what protobuf's implementation in Python raises
                raise InvalidCiphertext("what was stored is not a payload", operation="open") from None

        return await _gather([retrieve_one(claim) for claim in claims])

    def _codec_for(self, context: StorageDriverStoreContext) -> EnvelopeCodec:
        """Return the codec that seals claims for where the payloads belong."""
        target = context.target
        if self._in_context:
            return self.codec
        if isinstance(target, StorageDriverWorkflowInfo):
            return self.codec.with_context(WorkflowSerializationContext(target.namespace, target.id or ""))
        if isinstance(target, StorageDriverActivityInfo):
            return self.codec.with_context(WorkflowSerializationContext(target.namespace, ""))
        return self.codec

    async def _call(self, operation: str, size: int, call: Callable[[PayloadStore], Coroutine[Any, Any, _T]]) -> _T:
        """Make a call of the store for ``size`` bytes, and make it again until an answer comes or the time is up."""
        retry = Retry(self._timeout)
        seconds = _CALL_SECONDS + size / _BYTES_A_SECOND
        try:
            while True:
                begun = time.perf_counter()
                failure: StoreUnavailable
                try:
                    result = await self.pool.open_here().call(call, operation, seconds, retry)
                    self._report(operation, "ok", begun)
                    return result
                except StoreUnavailable as error:
                    failure = error.fresh()
                except EnvelopeError as error:
                    self._report(operation, type(error).__name__, begun, str(error))
                    raise
                # The caller's own cancellation. One that the call made up is no answer: see `LoopStore.call`.
                except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # no store may raise another class
                    logger.error("the datastore %s failed unexpectedly: %s", self.pool.name, place_of(error))
                    failure = StoreUnavailable("the datastore failed unexpectedly", operation=operation)
                self._report(operation, "StoreUnavailable", begun, str(failure))
                if not await retry.pause():
                    raise failure
        finally:
            retry.end()

    def _report(self, operation: str, outcome: str, begun: float, reason: str = "") -> None:
        seconds = time.perf_counter() - begun
        event = Event(operation, outcome, self.codec.namespace, self.pool.name, seconds, reason=reason)
        report(self.codec.keyring.observer, event)


async def _gather(work: Sequence[Awaitable[_T]]) -> list[_T]:
    """Return the results of ``work``, in order. The first error is raised once the rest is cancelled and has ended."""
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
