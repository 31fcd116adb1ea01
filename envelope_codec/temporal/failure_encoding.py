"""Data converters of the user's, or with parts of theirs.

Their failures leave sealed, whatever the converter makes of them. What they raise while the SDK encodes becomes an
error of ours.
"""

from __future__ import annotations

import asyncio
import dataclasses
from functools import lru_cache
from typing import Any, cast

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, DefaultPayloadConverter, SerializationContext

from envelope_codec.errors import ConfigurationError
from envelope_codec.observe import logger
from envelope_codec.temporal.caching_converter import CachingConverter
from envelope_codec.temporal.failure_attributes import STOPS, hide, walk_levels
from envelope_codec.temporal.failure_converter import EnvelopeFailureConverter
from envelope_codec.temporal.failure_fallback import make_fallback
from envelope_codec.temporal.foreign import Extension, is_ours
from envelope_codec.temporal.sealed_payload import is_sealed

_OVERRIDDEN = ("encode_failure", "with_context", "__post_init__")


class _Sealing:
    """Is mixed into a data converter's own class. Its failures leave sealed, and its errors are ours."""

    __slots__ = ()

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        _wrap_failure_converter(cast(DataConverter, self))

    def with_context(self, context: SerializationContext) -> Any:
        """Return the converter for ``context``, sealed as well. Raises `EnvelopeError` and nothing else."""
        return seal_failures(_extension(self).call(super().with_context, context))  # type: ignore[misc]

    def _with_store_context(self, store_ctx: Any) -> Any:
        """Return the converter for a context of storage, sealed as well. The SDK calls this method of its own."""
        return seal_failures(_extension(self).call(super()._with_store_context, store_ctx))  # type: ignore[misc]

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """Make a failure of ``exception``, and seal whatever the user's class has left in clear."""
        made = Failure()  # apart, since the SDK sends what an exception leaves half done
        try:
            try:
                await super().encode_failure(exception, made)  # type: ignore[misc]
            except STOPS:
                raise
            except BaseException as error:
                if is_ours(error) or _is_requested_cancellation(error):
                    raise
                logger.warning("the data converter %s failed: %s", type(self).__qualname__, type(error).__qualname__)
                made = make_fallback(exception)
            hide(made)
            await _seal_rest(made, cast(DataConverter, self))
            failure.CopyFrom(made)
        finally:
            del exception, made  # an exception takes this frame along


def _extension(converter: object) -> Extension:
    return Extension("application's data converter", converter)


def _is_requested_cancellation(error: BaseException) -> bool:
    """Whether ``error`` cancels the running task because somebody asked for that. Python 3.10 can't tell who did."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return type(error) is asyncio.CancelledError and (cancelling is None or cancelling() > 0)


def seal_failures(converter: DataConverter) -> DataConverter:
    """Return a converter like ``converter`` that leaves no failure in clear: ``converter`` itself, if it is one.

    The result is of a subclass of the converter's own class, and has the same state. While the SDK encodes, it makes
    the converters that are in it anew for each context. Where these are the user's, their errors become ours as well.

    Raises:
        ConfigurationError: the class can't be extended.
    """
    own = type(converter)
    if issubclass(own, _Sealing):
        _wrap_failure_converter(converter)  # the user's ``with_context`` may have put another there
        return converter
    if _is_plain(converter):
        return converter
    try:
        made: DataConverter = object.__new__(_make_sealing_class(own))
    except Exception as error:
        raise ConfigurationError(f"the data converter's class {own.__qualname__} can't be extended: {error}") from None
    for field in dataclasses.fields(converter):  # those that are in slots too
        object.__setattr__(made, field.name, getattr(converter, field.name))
    vars(made).update(vars(converter))
    _wrap_failure_converter(made)
    return made


def seals_failures(converter: DataConverter) -> bool:
    """Whether ``converter`` leaves no failure in clear, given that its failure converter hides."""
    own = type(converter)
    known = CachingConverter if issubclass(own, CachingConverter) else DataConverter
    return issubclass(own, _Sealing) or all(getattr(own, name) is getattr(known, name) for name in _OVERRIDDEN)


def _is_plain(converter: DataConverter) -> bool:
    """Whether each part that makes failures, or that is made anew for a context, is the SDK's or ours."""
    return (
        seals_failures(converter)
        and converter.payload_converter_class is DefaultPayloadConverter
        and converter.failure_converter_class is EnvelopeFailureConverter
    )


@lru_cache(maxsize=64)
def _make_sealing_class(own: type[DataConverter]) -> type[DataConverter]:
    body = {"__slots__": (), "__module__": own.__module__, "__doc__": own.__doc__}
    metaclass: Any = type(own)
    return cast(type[DataConverter], metaclass(own.__name__, (_Sealing, own), body))


def _wrap_failure_converter(converter: DataConverter) -> None:
    """Wrap the failure converter in place. A class may have its own, whatever ``failure_converter_class`` says."""
    if not isinstance(converter.failure_converter, EnvelopeFailureConverter):
        object.__setattr__(converter, "failure_converter", EnvelopeFailureConverter(converter.failure_converter))


async def _seal_rest(failure: Failure, converter: DataConverter) -> None:
    """Seal the payloads of ``failure`` that are still in clear."""
    codec, stores = converter.payload_codec, converter.external_storage is not None
    for level in walk_levels(failure):
        payloads = [level.encoded_attributes] if level.HasField("encoded_attributes") else []
        payloads.extend(level.application_failure_info.details.payloads)
        payloads.extend(level.timeout_failure_info.last_heartbeat_details.payloads)
        payloads.extend(level.canceled_failure_info.details.payloads)
        payloads.extend(level.reset_workflow_failure_info.last_heartbeat_details.payloads)
        for payload in payloads:
            if codec is not None and not is_sealed(payload, stored=stores):
                [sealed] = await codec.encode([payload])
                payload.CopyFrom(sealed)
