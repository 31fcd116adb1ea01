"""How our drivers stand beside a user's own, in the SDK's settings of external storage."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from temporalio.api.common.v1 import Payload
from temporalio.client import CreateScheduleInput, Interceptor, OutboundInterceptor, ScheduleHandle
from temporalio.converter import (
    ExternalStorage,
    SerializationContext,
    StorageDriver,
    StorageDriverSelectContext,
    WithSerializationContext,
)

from envelope_codec.codec import EnvelopeCodec
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.storage.driver import EnvelopeDriver, Pool
from envelope_codec.storage.store import parse_store_url
from envelope_codec.untouched import is_untouched

_SMALL = 1_000  # bytes; a null memo field, the one thing that must not be stored, is smaller by far

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
            return await super().create_schedule(input)
        finally:
            _making_a_schedule.reset(token)


class _Selector:
    """Ours for whatever is large enough, if we store at all; else as the user has it.

    An object that can be compared: the same settings twice are the same.
    """

    def __init__(self, ours: StorageDriver | None, theirs: ExternalStorage | None) -> None:
        self.ours = ours
        self.theirs = theirs

    def __call__(self, context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        if is_untouched(payload):
            return None
        if self.ours is not None:
            # What the schedule is to start has a target; the schedule's own memo has none.
            return None if _making_a_schedule.get() and context.target is None else self.ours
        if self.theirs is None:
            return None
        if self.theirs.driver_selector is not None:
            return self.theirs.driver_selector(context, payload)
        return self.theirs.drivers[0]


@dataclass(frozen=True)
class _Storage(ExternalStorage, WithSerializationContext):
    """Settings of external storage, whose drivers learn where a payload belongs. The SDK asks for that."""

    def with_context(self, context: SerializationContext) -> ExternalStorage:  # type: ignore[override]
        """See `WithSerializationContext.with_context`."""
        selector: Any = self.driver_selector
        theirs = selector.theirs
        if isinstance(theirs, WithSerializationContext):
            theirs = cast(ExternalStorage, theirs.with_context(context))
        ours = [driver.with_context(context) for driver in self.drivers if isinstance(driver, EnvelopeDriver)]
        return _merged(theirs, ours, selector.ours is not None, self.payload_size_threshold)


def configured_pools(config: EnvelopeConfig) -> list[Pool]:
    """The stores of a configuration: the one to store to first, if there is one, then those to read from."""
    urls = [config.storage] if config.storage is not None else []
    return [Pool(parse_store_url(url)) for url in (*urls, *config.former_storage)]


def with_our_storage(
    theirs: ExternalStorage | None, pools: Sequence[Pool], codec: EnvelopeCodec, *, threshold: int | None
) -> ExternalStorage | None:
    """``theirs`` with a driver for each of ``pools``, and no driver for what must reach Temporal as it is.

    Args:
        theirs: what the user has, without our drivers.
        pools: the stores to read from; the first is stored to, unless ``threshold`` is None.
        codec: seals and opens what Temporal keeps of a stored payload.
        threshold: payloads of so many bytes, sealed, are stored.

    Raises:
        ConfigurationError: two stores have one name.
    """
    if not pools and (theirs is None or not codec.config.sealing or theirs.payload_size_threshold > _SMALL):
        return theirs
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
    theirs: ExternalStorage | None, ours: Sequence[EnvelopeDriver], stores: bool, threshold: int
) -> ExternalStorage:
    return _Storage(
        drivers=[*ours, *(theirs.drivers if theirs is not None else ())],
        driver_selector=_Selector(ours[0] if stores else None, theirs),
        payload_size_threshold=threshold,
    )
