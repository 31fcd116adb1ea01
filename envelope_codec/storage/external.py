"""The SDK's settings of external storage, with drivers of this library beside those of the application."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
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
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.foreign import ForeignDriver, ForeignSelector, wrap_drivers
from envelope_codec.storage.pool import Pool
from envelope_codec.storage.sparing import Sparing
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.foreign import Extension
from envelope_codec.temporal.storage_failure import INLINE, failing
from envelope_codec.temporal.untouched import is_untouched

_making_a_schedule: ContextVar[bool] = ContextVar("making_a_schedule", default=False)


class ScheduleMemos(Interceptor):
    """An interceptor that keeps the memo of a schedule out of the store. The memo is sealed like any payload.

    Temporal's server runs a schedule as a workflow in Go, and the memo belongs to that workflow. Temporal's Go SDK
    refuses references to external storage, so that each task of the workflow would fail.
    """

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Wrap the client's calls."""
        return _ScheduleMemos(next)


class _ScheduleMemos(OutboundInterceptor):
    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        token = _making_a_schedule.set(True)
        try:
            making = [super().create_schedule(input)]
            del input  # an error would keep this frame, and so the memo
            return await making.pop()
        finally:
            _making_a_schedule.reset(token)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        token = failing.set(False)
        try:
            await super().fail_async_activity(input)
        finally:
            failing.reset(token)  # the caller's task goes on, and stores again


class _Selector:
    """The choice of a driver: this library's if it stores at all, or else as the application has it.

    Args:
        ours: the driver that stores; None if this library only reads.
        theirs: the application's own settings.
        drivers: the application's drivers, wrapped.
        sparing: what ``ours`` need not store.
    """

    def __init__(
        self,
        ours: StorageDriver | None,
        theirs: ExternalStorage | None,
        drivers: Sequence[ForeignDriver],
        sparing: Sparing | None,
    ) -> None:
        self.ours = ours
        self.theirs = theirs
        self.sparing = sparing
        self._select = ForeignSelector(theirs, drivers) if theirs is not None else None

    def __call__(self, context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        if is_untouched(payload):
            return None
        if self.ours is not None:
            if failing.get() and payload.ByteSize() <= INLINE:
                return None  # else the failure would wait for the store that it tells of
            if self.sparing is not None and self.sparing.spares(context, payload):
                return None
            # Payloads of the workflow that the schedule starts have a target. The schedule's own memo has none.
            return None if _making_a_schedule.get() and context.target is None else self.ours
        return self._select(context, payload) if self._select is not None else None


@dataclass(frozen=True)
class _Storage(ExternalStorage, WithSerializationContext):
    """Settings of external storage whose drivers learn where a payload belongs.

    There is one copy for each variant of the drivers, unless the application's settings take a context.
    """

    # By the ids of drivers of this library. Shared by the copies, or those of copies would never end.
    _kept: dict[tuple[int, ...], _Storage] = field(init=False, repr=False, compare=False, default_factory=dict)

    def with_context(self, context: SerializationContext) -> ExternalStorage:  # type: ignore[override]
        """Return the settings for payloads that belong to ``context``."""
        ours = [driver.with_context(context) for driver in self.drivers if isinstance(driver, EnvelopeDriver)]
        selector: Any = self.driver_selector
        theirs = selector.theirs
        if isinstance(theirs, WithSerializationContext):
            theirs = Extension("application's external storage", theirs).call(cast(Any, theirs.with_context), context)
            return self._with(ours, theirs)
        if not ours:
            return self
        place = tuple(map(id, ours))
        found = self._kept.get(place)
        if found is not None:
            return found
        made = self._with(ours, theirs)
        if not all(driver.codec.has_lasting_variants for driver in ours):
            return made
        object.__setattr__(made, "_kept", self._kept)
        return self._kept.setdefault(place, made)

    def _with(self, ours: Sequence[EnvelopeDriver], theirs: ExternalStorage | None) -> _Storage:
        selector: Any = self.driver_selector
        foreign = [driver for driver in self.drivers if isinstance(driver, ForeignDriver)]
        known = foreign if theirs is selector.theirs else None
        return _merge(theirs, ours, selector.ours is not None, self.payload_size_threshold, known, selector.sparing)


@frameless
def configured_pools(config: EnvelopeConfig) -> list[Pool]:
    """Return the stores of a configuration: first the one to store in, if there is one, then those to read from."""
    urls = [config.storage] if config.storage is not None else []
    return [Pool(parse_store_url(url)) for url in (*urls, *config.former_storage)]


def with_our_storage(
    theirs: ExternalStorage | None,
    pools: Sequence[Pool],
    codec: EnvelopeCodec,
    *,
    threshold: int | None,
    sparing: Sparing | None = None,
) -> ExternalStorage | None:
    """Return the application's settings with a driver of this library for each of ``pools``.

    The errors of the application's own drivers become errors of this library. Payloads that must reach Temporal as they
    are go to no driver.

    Args:
        theirs: the application's settings, without drivers of this library.
        pools: the stores to read from. The first one is stored in, unless ``threshold`` is None.
        codec: seals and opens the claims that Temporal keeps.
        threshold: sealed payloads of this many bytes or more are stored.
        sparing: but not these.

    Raises:
        ConfigurationError: two stores have one name.
    """
    if not pools:  # the application's settings stay as they are, except for their errors
        return _merge(theirs, [], False, theirs.payload_size_threshold) if theirs is not None else None
    size = threshold if threshold is not None else theirs.payload_size_threshold if theirs is not None else 0
    try:
        drivers = [EnvelopeDriver(pool, codec) for pool in pools]
        return _merge(theirs, drivers, threshold is not None, size, sparing=sparing)
    except ValueError:
        raise ConfigurationError("storage: two stores have one name; give each its own, with ?name=") from None


def without_our_storage(storage: ExternalStorage | None) -> ExternalStorage | None:
    """Return the application's settings, as they were before `with_our_storage`."""
    selector: Any = storage.driver_selector if storage is not None else None
    return selector.theirs if isinstance(selector, _Selector) else storage


def _merge(
    theirs: ExternalStorage | None,
    ours: Sequence[EnvelopeDriver],
    stores: bool,
    threshold: int,
    known: Sequence[ForeignDriver] | None = None,
    sparing: Sparing | None = None,
) -> _Storage:
    foreign = wrap_drivers(theirs) if known is None else known
    return _Storage(
        drivers=[*ours, *foreign],
        driver_selector=_Selector(ours[0] if stores else None, theirs, foreign, sparing),
        payload_size_threshold=threshold,
    )
