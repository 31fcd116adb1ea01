"""How our drivers stand beside a user's own, in the SDK's settings of external storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import ExternalStorage, StorageDriver, StorageDriverSelectContext

from envelope_codec.codec import EnvelopeCodec
from envelope_codec.errors import ConfigurationError
from envelope_codec.storage.driver import EnvelopeDriver, Pool


class _Selector:
    """Ours for whatever is large enough, if we store at all; else as the user has it.

    An object that can be compared: the same settings twice are the same.
    """

    def __init__(self, ours: StorageDriver | None, theirs: ExternalStorage | None) -> None:
        self.ours = ours
        self.theirs = theirs

    def __call__(self, context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        if self.ours is not None:
            return self.ours
        if self.theirs is None:
            return None
        if self.theirs.driver_selector is not None:
            return self.theirs.driver_selector(context, payload)
        return self.theirs.drivers[0]


def with_our_storage(
    theirs: ExternalStorage | None, pools: Sequence[Pool], codec: EnvelopeCodec, *, threshold: int | None
) -> ExternalStorage | None:
    """``theirs`` with a driver for each of ``pools``.

    Args:
        theirs: what the user has, without our drivers.
        pools: the stores to read from; the first is stored to, unless ``threshold`` is None.
        codec: seals and opens what Temporal keeps of a stored payload.
        threshold: payloads of so many bytes, sealed, are stored.

    Raises:
        ConfigurationError: two stores have one name.
    """
    if not pools:
        return theirs
    drivers = [EnvelopeDriver(pool, codec) for pool in pools]
    writing = drivers[0] if threshold is not None else None
    size = threshold if threshold is not None else theirs.payload_size_threshold if theirs is not None else 0
    try:
        return ExternalStorage(
            drivers=[*drivers, *(theirs.drivers if theirs is not None else ())],
            driver_selector=_Selector(writing, theirs),
            payload_size_threshold=size,
        )
    except ValueError:
        raise ConfigurationError("storage: two stores have one name; give each its own, with ?name=") from None


def without_our_storage(storage: ExternalStorage | None) -> ExternalStorage | None:
    """What the user had before `with_our_storage`."""
    selector: Any = storage.driver_selector if storage is not None else None
    return selector.theirs if isinstance(selector, _Selector) else storage
