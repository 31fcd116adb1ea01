"""How our drivers stand beside a user's own, in the SDK's settings of external storage."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    CreateScheduleInput,
    FailAsyncActivityInput,
    Interceptor,
    OutboundInterceptor,
    ScheduleHandle,
)
from temporalio.converter import (
    ExternalStorage,
    SerializationContext,
    StorageDriver,
    StorageDriverSelectContext,
    WithSerializationContext,
)

from envelope_codec._frames import frameless
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.storage.driver import EnvelopeDriver, Pool
from envelope_codec.storage.foreign import ForeignDriver, ForeignSelector, foreign_drivers
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.foreign import Extension
from envelope_codec.temporal.storage_failure import INLINE, failing
from envelope_codec.temporal.untouched import is_untouched

_making_a_schedule: ContextVar[bool] = ContextVar("making_a_schedule", default=False)


class ScheduleMemos(Interceptor):
    """Has the memo of a schedule sealed, but not stored: with a reference in it, the server does not run the schedule.

    The scheduler of Temporal's server is a workflow in Go, whose memo this is. Temporal's Go SDK refuses references
    to external storage, and so each of its tasks fails.
    """

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See `Interceptor.intercept_client`."""
        return _ScheduleMemos(next)


class _ScheduleMemos(OutboundInterceptor):
    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        token = _making_a_schedule.set(True)
        try:
            making = [super().create_schedule(input)]
            del input  # an error keeps this frame
            return await making.pop()
        finally:
            _making_a_schedule.reset(token)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        token = failing.set(False)
        try:
            await super().fail_async_activity(input)
        finally:
            failing.reset(token)  # the caller's task goes on


class _Selector:
    """Ours for whatever is large enough, if we store at all; else as the user has it.

    An object that can be compared: the same settings twice are the same.
    """

    def __init__(
        self, ours: StorageDriver | None, theirs: ExternalStorage | None, drivers: Sequence[ForeignDriver] = ()
    ) -> None:
        self.ours = ours
        self.theirs = theirs
        self._select = ForeignSelector(theirs, drivers) if theirs is not None else None

    def __call__(self, context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        if is_untouched(payload):
            return None
        if self.ours is not None:
            if failing.get() and payload.ByteSize() <= INLINE:
                return None  # or the failure would wait for the store, and nobody would hear of it
            # What the schedule is to start has a target; the schedule's own memo has none.
            return None if _making_a_schedule.get() and context.target is None else self.ours
        return self._select(context, payload) if self._select is not None else None


@dataclass(frozen=True)
class _Storage(ExternalStorage, WithSerializationContext):
    """Settings of external storage, whose drivers learn where a payload belongs. The SDK asks for that."""

    def with_context(self, context: SerializationContext) -> ExternalStorage:  # type: ignore[override]
        """See `WithSerializationContext.with_context`."""
        selector: Any = self.driver_selector
        theirs = selector.theirs
        if isinstance(theirs, WithSerializationContext):
            theirs = Extension("application's external storage", theirs).call(cast(Any, theirs.with_context), context)
        ours = [driver.with_context(context) for driver in self.drivers if isinstance(driver, EnvelopeDriver)]
        foreign = [driver for driver in self.drivers if isinstance(driver, ForeignDriver)]
        known = foreign if theirs is selector.theirs else None
        return _merged(theirs, ours, selector.ours is not None, self.payload_size_threshold, known)


@frameless
def configured_pools(config: EnvelopeConfig) -> list[Pool]:
    """The stores of a configuration: the one to store to first, if there is one, then those to read from."""
    urls = [config.storage] if config.storage is not None else []
    return [Pool(parse_store_url(url)) for url in (*urls, *config.former_storage)]


def with_our_storage(
    theirs: ExternalStorage | None, pools: Sequence[Pool], codec: EnvelopeCodec, *, threshold: int | None
) -> ExternalStorage | None:
    """``theirs`` with a driver for each of ``pools``, with errors of ours where its own drivers fail.

    No driver gets what must reach Temporal as it is.

    Args:
        theirs: what the user has, without our drivers.
        pools: the stores to read from; the first is stored to, unless ``threshold`` is None.
        codec: seals and opens what Temporal keeps of a stored payload.
        threshold: payloads of so many bytes, sealed, are stored.

    Raises:
        ConfigurationError: two stores have one name.
    """
    if not pools:  # then it is as they have it, but for that
        return _merged(theirs, [], False, theirs.payload_size_threshold) if theirs is not None else None
    size = threshold if threshold is not None else theirs.payload_size_threshold if theirs is not None else 0
    try:
        return _merged(theirs, [EnvelopeDriver(pool, codec) for pool in pools], threshold is not None, size)
    except ValueError:
        raise ConfigurationError("storage: two stores have one name; give each its own, with ?name=") from None


def without_our_storage(storage: ExternalStorage | None) -> ExternalStorage | None:
    """What the user had before `with_our_storage`."""
    selector: Any = storage.driver_selector if storage is not None else None
    return selector.theirs if isinstance(selector, _Selector) else storage


def _merged(
    theirs: ExternalStorage | None,
    ours: Sequence[EnvelopeDriver],
    stores: bool,
    threshold: int,
    known: Sequence[ForeignDriver] | None = None,
) -> ExternalStorage:
    foreign = foreign_drivers(theirs) if known is None else known
    return _Storage(
        drivers=[*ours, *foreign],
        driver_selector=_Selector(ours[0] if stores else None, theirs, foreign),
        payload_size_threshold=threshold,
    )
