"""Failure converters that leave no message and no stack trace in clear."""

from __future__ import annotations

import copyreg
from abc import ABCMeta
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, cast

from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    DefaultFailureConverter,
    FailureConverter,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
)

from envelope_codec._frames import text_of
from envelope_codec.observe import logger
from envelope_codec.temporal.failure_attributes import MAX_STACK_TRACE, STOPS, hide, shown
from envelope_codec.temporal.failure_fallback import fallback, goes_too_deep
from envelope_codec.temporal.storage_failure import note_failure

__all__ = ["MAX_STACK_TRACE", "EnvelopeFailureConverter", "encoding_failures", "hides", "reading_failures"]


_MadeFrom = tuple[Callable[[], FailureConverter], bool]  # what is wrapped, and whether it is hidden what that writes


class _Wrapper(ABCMeta):
    """Classes that are made here can be pickled: by what they wrap."""


class EnvelopeFailureConverter(FailureConverter, WithSerializationContext, metaclass=_Wrapper):
    """Lets another failure converter have its say, and moves message and stack trace to where the codec seals them.

    Nothing that goes wrong gets out of `to_failure`, nor into the failure. What is missing then are the details.
    """

    made_from: ClassVar[_MadeFrom] = (DefaultFailureConverter, True)
    _has_been_made: ClassVar[bool] = False

    def __init__(self, converter: FailureConverter | None = None) -> None:
        self._converter = self._made() if converter is None else converter

    @classmethod
    def _made(cls) -> FailureConverter:
        """A new converter. The SDK makes one again and again, and would store in clear what is raised meanwhile: who
        configures a client is told, and nobody later.
        """
        try:
            made = cls.made_from[0]()
        except STOPS:
            raise
        except BaseException as error:
            if not cls._has_been_made:
                raise
            _log(cls.made_from[0], "the SDK's default does its work", error)
            return DefaultFailureConverter()
        cls._has_been_made = True
        return made

    def __getattr__(self, name: str) -> Any:
        """What the converter has besides."""
        if name == "_converter":
            raise AttributeError(name)  # a copy in the making
        return getattr(self._converter, name)

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """See `FailureConverter.to_failure`."""
        note_failure(exception)
        if not self.made_from[1]:
            self._converter.to_failure(exception, payload_converter, failure)
            return
        made = Failure()  # apart, since the SDK sends what an exception leaves half done
        try:
            if goes_too_deep(exception):
                made = fallback(exception)
            else:
                self._converter.to_failure(exception, payload_converter, made)
        except STOPS:
            del exception, failure, made  # this frame goes with what is raised, and must tell nothing
            raise
        except BaseException as error:
            _log(self._converter, "the failure is sealed without details", error)
            made = fallback(exception)
        hide(made, payload_converter)
        failure.CopyFrom(made)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """See `FailureConverter.from_failure`. The converter is given what it once made."""
        try:
            return self._converter.from_failure(shown(failure, payload_converter), payload_converter)
        finally:
            del failure  # an exception of the converter's takes this frame along

    def with_context(self, context: SerializationContext) -> EnvelopeFailureConverter:
        """See `WithSerializationContext.with_context`. The same object where the converter stays the same."""
        converter = self._converter
        if not isinstance(converter, WithSerializationContext):
            return self
        try:
            contextual = cast(FailureConverter, converter.with_context(context))
        except STOPS:
            raise
        except BaseException as error:
            if not self.made_from[1]:
                raise
            _log(converter, "it goes on without a context", error)
            return self
        return self if contextual is converter else type(self)(contextual)


def encoding_failures(converter: Callable[[], FailureConverter]) -> type[FailureConverter]:
    """A failure converter class that does as ``converter`` does and leaves no message or stack trace in clear.

    Args:
        converter: whatever makes a failure converter: a class, a `functools.partial`, a function.
    """
    return _wrapped(converter, True)


def reading_failures(converter: Callable[[], FailureConverter]) -> Callable[[], FailureConverter]:
    """A failure converter that writes as ``converter`` does, and reads what `encoding_failures` has written."""
    of = _of(converter)
    if of is not None:
        converter = of[0]
    if isinstance(converter, type) and issubclass(converter, DefaultFailureConverter):
        return cast(Callable[[], FailureConverter], converter)  # reads it anyway
    return _wrapped(cast(Callable[[], FailureConverter], converter), False)


def hides(converter: object) -> bool:
    """Whether ``converter`` is of `encoding_failures`, and not a class that somebody has derived from it."""
    of = _of(converter)
    return of is not None and of[1]


def _wrapped(converter: Callable[[], FailureConverter], hiding: bool) -> type[FailureConverter]:
    of = _of(converter)
    if of is not None:
        if of[1] == hiding:
            return cast(type[EnvelopeFailureConverter], converter)
        converter = of[0]
    try:
        hash(converter)
    except TypeError:
        return _new(converter, hiding)
    return _cached(converter, hiding)


def _of(converter: object) -> _MadeFrom | None:
    return converter.__dict__.get("made_from") if isinstance(converter, _Wrapper) else None


def _new(converter: Callable[[], FailureConverter], hiding: bool) -> type[EnvelopeFailureConverter]:
    if hiding and converter is DefaultFailureConverter:
        return EnvelopeFailureConverter
    name = "Envelope" + getattr(converter, "__name__", type(converter).__name__)
    body: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": EnvelopeFailureConverter.__doc__,
        "made_from": (converter, hiding),
        "_has_been_made": False,
    }
    made = cast(type[EnvelopeFailureConverter], _Wrapper(name, (EnvelopeFailureConverter,), body))
    if isinstance(converter, ABCMeta):
        converter.register(made)  # who asks for the user's class, or uses what it adds, finds it
    return made


_cached = lru_cache(maxsize=64)(_new)


def _pickled(made: type[EnvelopeFailureConverter]) -> str | tuple[Any, ...]:
    of = _of(made)
    return made.__qualname__ if of is None or made is EnvelopeFailureConverter else (_wrapped, of)


copyreg.pickle(cast(Any, _Wrapper), cast(Any, _pickled))


def _log(converter: object, then: str, error: BaseException) -> None:
    """Log ``error`` with its stack trace as a text: frames would tell error reporters what the failure is about."""
    trace = text_of(error, limit=-8, chain=False)
    name = getattr(converter, "__name__", type(converter).__name__)
    logger.warning("the failure converter %s failed: %s\n%s", name, then, trace)
