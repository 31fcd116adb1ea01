"""Failure converters that leave no message and no stack trace in clear."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter, FailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError

from envelope_codec.errors import ConfigurationError
from envelope_codec.storage.failing import note_failure

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
        note_failure(exception)
        super().to_failure(exception, payload_converter, failure)  # type: ignore[safe-super]
        # An error that came from a failure is turned back by copying it, causes included: those may be in clear.
        for level in _levels(failure):
            if level.message != _HIDDEN or level.stack_trace:
                _hide(level, payload_converter)


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
        raise ApplicationError(sentinel) from ValueError(sentinel)
    except ApplicationError as error:
        converter().to_failure(error, DefaultPayloadConverter(), failure)
    return not any(sentinel in level.message or level.stack_trace for level in _levels(failure))


def _hide(failure: Failure, payload_converter: PayloadConverter) -> None:
    stack_trace = failure.stack_trace
    if len(stack_trace) > MAX_STACK_TRACE:
        stack_trace = "…" + stack_trace[-MAX_STACK_TRACE:]
    attributes = {"message": failure.message, "stack_trace": stack_trace}
    failure.encoded_attributes.CopyFrom(payload_converter.to_payloads([attributes])[0])
    failure.message = _HIDDEN
    failure.stack_trace = ""


def _levels(failure: Failure) -> Iterator[Failure]:
    """``failure`` and its chain of causes."""
    yield failure
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure
