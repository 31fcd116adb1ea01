"""A data converter of the user's, or with parts of theirs: its failures are sealed whatever it makes of them, and what
it raises while the SDK encodes is ours.
"""

from __future__ import annotations

import asyncio
import dataclasses
from functools import lru_cache
from typing import Any, cast

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, DefaultPayloadConverter, SerializationContext

from envelope_codec.envelope import parse
from envelope_codec.errors import ConfigurationError, MalformedEnvelope
from envelope_codec.observe import logger
from envelope_codec.temporal.failure_attributes import STOPS, hide, levels
from envelope_codec.temporal.failure_converter import EnvelopeFailureConverter
from envelope_codec.temporal.failure_fallback import fallback
from envelope_codec.temporal.foreign import Extension, is_ours
from envelope_codec.temporal.system_payloads import is_exact_reference, is_reference

_OVERRIDDEN = ("encode_failure", "with_context", "__post_init__")


class _Sealing:
    """Mixed into a data converter's own class: its failures leave sealed, and it tells nothing of what goes wrong."""

    __slots__ = ()

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        _wrap_failure_converter(cast(DataConverter, self))

    def with_context(self, context: SerializationContext) -> Any:
        """See `DataConverter.with_context`. Raises `EnvelopeError` and nothing else."""
        return sealing_failures(_extension(self).called(super().with_context, context))  # type: ignore[misc]

    def _with_store_context(self, store_ctx: Any) -> Any:
        """The SDK's own, which makes the user's converters anew as well."""
        return sealing_failures(_extension(self).called(super()._with_store_context, store_ctx))  # type: ignore[misc]

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """See `DataConverter.encode_failure`."""
        made = Failure()  # apart, since the SDK sends what an exception leaves half done
        try:
            try:
                await super().encode_failure(exception, made)  # type: ignore[misc]
            except STOPS:
                raise
            except BaseException as error:
                if is_ours(error) or _is_asked_for(error):
                    raise
                logger.warning("the data converter %s failed: %s", type(self).__qualname__, type(error).__qualname__)
                made = fallback(exception)
            hide(made)
            await _seal_rest(made, cast(DataConverter, self))
            failure.CopyFrom(made)
        finally:
            del exception, made  # an exception takes this frame along


def _extension(converter: object) -> Extension:
    return Extension("application's data converter", converter)


def _is_asked_for(error: BaseException) -> bool:
    """Whether ``error`` is what cancels the running task. Python 3.10 can't tell whether anybody has asked for that."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return type(error) is asyncio.CancelledError and (cancelling is None or cancelling() > 0)


def sealing_failures(converter: DataConverter) -> DataConverter:
    """``converter``, which leaves no failure in clear. The same object where that is so anyway.

    It is of a subclass of the converter's own class, and has the same state. The SDK makes the converters that are in
    it anew for each context, while it encodes: where they are the user's, their words are kept from it as well.

    Raises:
        ConfigurationError: the class can't be extended.
    """
    kind = type(converter)
    if issubclass(kind, _Sealing):
        _wrap_failure_converter(converter)  # its own ``with_context`` may have put another there
        return converter
    if _is_plain(converter):
        return converter
    try:
        made: DataConverter = object.__new__(_sealing_class(kind))
    except Exception as error:
        raise ConfigurationError(f"the data converter's class {kind.__qualname__} can't be extended: {error}") from None
    for field in dataclasses.fields(converter):  # those that are in slots too
        object.__setattr__(made, field.name, getattr(converter, field.name))
    vars(made).update(vars(converter))
    _wrap_failure_converter(made)
    return made


def seals_failures(converter: DataConverter) -> bool:
    """Whether ``converter`` leaves no failure in clear, given that its failure converter hides."""
    kind = type(converter)
    return issubclass(kind, _Sealing) or all(
        getattr(kind, name) is getattr(DataConverter, name) for name in _OVERRIDDEN
    )


def _is_plain(converter: DataConverter) -> bool:
    """Whether all of it that makes failures, or that is made anew for a context, is the SDK's or ours."""
    return (
        seals_failures(converter)
        and converter.payload_converter_class is DefaultPayloadConverter
        and converter.failure_converter_class is EnvelopeFailureConverter
    )


@lru_cache(maxsize=64)
def _sealing_class(kind: type[DataConverter]) -> type[DataConverter]:
    body = {"__slots__": (), "__module__": kind.__module__, "__doc__": kind.__doc__}
    metaclass: Any = type(kind)
    return cast(type[DataConverter], metaclass(kind.__name__, (_Sealing, kind), body))


def _wrap_failure_converter(converter: DataConverter) -> None:
    """A class may put a failure converter of its own there, whatever ``failure_converter_class`` says."""
    if not isinstance(converter.failure_converter, EnvelopeFailureConverter):
        object.__setattr__(converter, "failure_converter", EnvelopeFailureConverter(converter.failure_converter))


async def _seal_rest(failure: Failure, converter: DataConverter) -> None:
    """Seal the payloads of ``failure`` that are still in clear."""
    codec = converter.payload_codec
    for level in levels(failure):
        payloads = [level.encoded_attributes] if level.HasField("encoded_attributes") else []
        payloads.extend(level.application_failure_info.details.payloads)
        payloads.extend(level.timeout_failure_info.last_heartbeat_details.payloads)
        payloads.extend(level.canceled_failure_info.details.payloads)
        payloads.extend(level.reset_workflow_failure_info.last_heartbeat_details.payloads)
        for payload in payloads:
            if codec is not None and not _is_sealed(payload, converter.external_storage is not None):
                [sealed] = await codec.encode([payload])
                payload.CopyFrom(sealed)


def _is_sealed(payload: Payload, stores: bool) -> bool:
    """Whether ``payload`` is an envelope, or a reference to one: nothing else that passes in clear is of the SDK's."""
    if is_reference(payload):
        return stores and is_exact_reference(payload)
    try:
        return parse(payload.metadata, payload.data) is not None
    except MalformedEnvelope:
        return False
