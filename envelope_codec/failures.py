"""Failure converters that leave no message and no stack trace in clear."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter, FailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError

from envelope_codec.errors import ConfigurationError

MAX_STACK_TRACE = 2_000
"""Characters of a stack trace that are kept, its end. The server replaces a failure that gets too large by another."""

_HIDDEN = "Encoded failure"

if TYPE_CHECKING:
    _Extended = FailureConverter
else:
    _Extended = object


class _EncodedAttributes(_Extended):
    """Moves message and stack trace, whatever the class it extends made of them, to where the codec seals them."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """See `FailureConverter.to_failure`."""
        super().to_failure(exception, payload_converter, failure)  # type: ignore[safe-super]
        if failure.message == _HIDDEN and not failure.stack_trace:
            return
        stack_trace = failure.stack_trace
        if len(stack_trace) > MAX_STACK_TRACE:
            stack_trace = "…" + stack_trace[-MAX_STACK_TRACE:]
        attributes = {"message": failure.message, "stack_trace": stack_trace}
        failure.encoded_attributes.CopyFrom(payload_converter.to_payloads([attributes])[0])
        failure.message = _HIDDEN
        failure.stack_trace = ""


class EnvelopeFailureConverter(_EncodedAttributes, DefaultFailureConverter):
    """The SDK's default failure converter, with message and stack trace encoded."""


@lru_cache(maxsize=64)
def encoding_failures(converter: type[FailureConverter]) -> type[FailureConverter]:
    """A failure converter class that does as ``converter`` does and leaves no message or stack trace in clear.

    Raises:
        ConfigurationError: ``converter`` leaves them in clear and can't be extended.
    """
    if converter is DefaultFailureConverter:
        return EnvelopeFailureConverter
    if _hides_attributes(converter):
        return converter
    if issubclass(converter, DefaultFailureConverter):
        return type(f"Envelope{converter.__name__}", (_EncodedAttributes, converter), {})
    raise ConfigurationError(
        f"the failure converter {converter.__qualname__} leaves messages and stack traces in clear: let it extend "
        "temporalio.converter.DefaultFailureConverter, or move them to encoded_attributes itself"
    )


def _hides_attributes(converter: type[FailureConverter]) -> bool:
    sentinel = "sentinel-of-envelope-codec"
    failure = Failure()
    try:
        raise ApplicationError(sentinel)
    except ApplicationError as error:
        converter().to_failure(error, DefaultPayloadConverter(), failure)
    return sentinel not in failure.message and sentinel not in failure.stack_trace and not failure.stack_trace
