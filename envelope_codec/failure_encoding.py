"""A user's own data converter, whose failures are sealed whatever it makes of them."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, cast

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, SerializationContext

from envelope_codec.clear import written_in_clear
from envelope_codec.envelope import ENCODING
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.failure_attributes import hide, levels
from envelope_codec.failure_fallback import fallback
from envelope_codec.failures import EnvelopeFailureConverter
from envelope_codec.observe import logger

_OVERRIDDEN = ("encode_failure", "with_context", "__post_init__")


class _Sealing:
    """Mixed into a data converter's own class: its failures leave sealed."""

    __slots__ = ()

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        _wrap_failure_converter(cast(DataConverter, self))

    def with_context(self, context: SerializationContext) -> Any:
        """See `DataConverter.with_context`."""
        return sealing_failures(super().with_context(context))  # type: ignore[misc]

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """See `DataConverter.encode_failure`."""
        made = Failure()  # apart, since the SDK sends what an exception leaves half done
        try:
            try:
                await super().encode_failure(exception, made)  # type: ignore[misc]
            except EnvelopeError:
                raise
            except Exception as error:
                logger.warning("the data converter %s failed: %s", type(self).__qualname__, type(error).__qualname__)
                made = fallback(exception)
            hide(made)
            await _seal_rest(made, cast(DataConverter, self))
            failure.CopyFrom(made)
        finally:
            del exception, made  # an exception takes this frame along


def sealing_failures(converter: DataConverter) -> DataConverter:
    """``converter``, which leaves no failure in clear. The same object where that is so anyway.

    It is of a subclass of the converter's own class, and has the same state.

    Raises:
        ConfigurationError: the class can't be extended.
    """
    kind = type(converter)
    if issubclass(kind, _Sealing) or all(getattr(kind, name) is getattr(DataConverter, name) for name in _OVERRIDDEN):
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
            if codec is not None and not _is_sealed(payload):
                [sealed] = await codec.encode([payload])
                payload.CopyFrom(sealed)


def _is_sealed(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == ENCODING or written_in_clear(payload) is not None
