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
from envelope_codec.temporal.failure_attributes import MAX_STACK_TRACE, STOPS, hide, show
from envelope_codec.temporal.failure_fallback import is_too_deep, make_fallback
from envelope_codec.temporal.storage_failure import note_failure

__all__ = [
    "MAX_STACK_TRACE",
    "EnvelopeFailureConverter",
    "hides_failures",
    "make_hiding_converter",
    "make_reading_converter",
]


_Origin = tuple[Callable[[], FailureConverter], bool]  # what is wrapped, and whether its texts are hidden


class _Wrapper(ABCMeta):
    """The class of the classes that are made here. They can be pickled: by what they wrap."""


class EnvelopeFailureConverter(FailureConverter, WithSerializationContext, metaclass=_Wrapper):
    """Makes failures with another failure converter, and moves message and stack trace to where the codec seals them.

    If that converter fails, its error neither leaves `to_failure` nor gets into the failure. The failure then has no
    details.
    """

    _origin: ClassVar[_Origin] = (DefaultFailureConverter, True)
    _has_been_made: ClassVar[bool] = False

    def __init__(self, converter: FailureConverter | None = None) -> None:
        self._converter = self._make() if converter is None else converter

    @classmethod
    def _make(cls) -> FailureConverter:
        """Make the converter that is wrapped.

        The first time, while a client is configured, an error leaves. The SDK makes a converter again and again later,
        and would store in clear what is raised then.
        """
        try:
            made = cls._origin[0]()
        except STOPS:
            raise
        except BaseException as error:
            if not cls._has_been_made:
                raise
            _log(cls._origin[0], "the SDK's default does its work", error)
            return DefaultFailureConverter()
        cls._has_been_made = True
        return made

    def __getattr__(self, name: str) -> Any:
        """Return what the wrapped converter has besides."""
        if name == "_converter":
            raise AttributeError(name)  # while a copy is made
        return getattr(self._converter, name)

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Make a failure without message and stack trace in clear."""
        note_failure(exception)
        if not self._origin[1]:
            self._converter.to_failure(exception, payload_converter, failure)
            return
        made = Failure()  # apart, since the SDK sends what an exception leaves half done
        try:
            if is_too_deep(exception):
                made = make_fallback(exception)
            else:
                self._converter.to_failure(exception, payload_converter, made)
        except STOPS:
            del exception, failure, made  # what is raised takes this frame along
            raise
        except BaseException as error:
            _log(self._converter, "the failure is sealed without details", error)
            made = make_fallback(exception)
        hide(made, payload_converter)
        failure.CopyFrom(made)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Make an exception. The wrapped converter is given the failure as it once made it."""
        try:
            return self._converter.from_failure(show(failure, payload_converter), payload_converter)
        finally:
            del failure  # an exception of the converter's takes this frame along

    def with_context(self, context: SerializationContext) -> EnvelopeFailureConverter:
        """Return the converter for ``context``: the same object where the wrapped converter stays the same."""
        converter = self._converter
        if not isinstance(converter, WithSerializationContext):
            return self
        try:
            contextual = cast(FailureConverter, converter.with_context(context))
        except STOPS:
            raise
        except BaseException as error:
            if not self._origin[1]:
                raise
            _log(converter, "it goes on without a context", error)
            return self
        return self if contextual is converter else type(self)(contextual)


def make_hiding_converter(converter: Callable[[], FailureConverter]) -> type[FailureConverter]:
    """Return a failure converter class that does as ``converter`` does, but leaves no message or stack trace in clear.

    Args:
        converter: makes a failure converter: a class, a `functools.partial`, a function.
    """
    return _wrap(converter, True)


def make_reading_converter(converter: Callable[[], FailureConverter]) -> Callable[[], FailureConverter]:
    """Return a failure converter class that writes as ``converter`` does, and reads what hiding ones have written."""
    origin = _find_origin(converter)
    if origin is not None:
        converter = origin[0]
    if isinstance(converter, type) and issubclass(converter, DefaultFailureConverter):
        return cast(Callable[[], FailureConverter], converter)  # reads it anyway
    return _wrap(cast(Callable[[], FailureConverter], converter), False)


def hides_failures(converter: object) -> bool:
    """Whether `make_hiding_converter` made ``converter``. A class that somebody derived from it does not count."""
    origin = _find_origin(converter)
    return origin is not None and origin[1]


def _wrap(converter: Callable[[], FailureConverter], hiding: bool) -> type[FailureConverter]:
    origin = _find_origin(converter)
    if origin is not None:
        if origin[1] == hiding:
            return cast(type[EnvelopeFailureConverter], converter)
        converter = origin[0]
    try:
        hash(converter)
    except TypeError:
        return _make_class(converter, hiding)
    return _make_class_once(converter, hiding)


def _find_origin(converter: object) -> _Origin | None:
    return converter.__dict__.get("_origin") if isinstance(converter, _Wrapper) else None


def _make_class(converter: Callable[[], FailureConverter], hiding: bool) -> type[EnvelopeFailureConverter]:
    if hiding and converter is DefaultFailureConverter:
        return EnvelopeFailureConverter
    name = "Envelope" + getattr(converter, "__name__", type(converter).__name__)
    body: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": EnvelopeFailureConverter.__doc__,
        "_origin": (converter, hiding),
        "_has_been_made": False,
    }
    made = cast(type[EnvelopeFailureConverter], _Wrapper(name, (EnvelopeFailureConverter,), body))
    if isinstance(converter, ABCMeta):
        converter.register(made)  # so that code which asks for the user's class finds it
    return made


_make_class_once = lru_cache(maxsize=64)(_make_class)


def _pickle(made: type[EnvelopeFailureConverter]) -> str | tuple[Any, ...]:
    origin = _find_origin(made)
    return made.__qualname__ if origin is None or made is EnvelopeFailureConverter else (_wrap, origin)


copyreg.pickle(cast(Any, _Wrapper), cast(Any, _pickle))


def _log(converter: object, then: str, error: BaseException) -> None:
    """Log ``error`` with its stack trace as a text. Error reporters would send away what frames hold."""
    trace = text_of(error, limit=-8, chain=False)
    name = getattr(converter, "__name__", type(converter).__name__)
    logger.warning("the failure converter %s failed: %s\n%s", name, then, trace)
