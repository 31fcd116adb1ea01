"""Errors without frames.

An error reporter sends away what it finds in an error: the local variables of every frame of its traceback, and of the
tracebacks of its causes and contexts. Inside this library those variables hold keys and plaintext. So every error that
leaves goes through a function of this module, which raises it anew from an empty frame. What is logged is text.
"""

from __future__ import annotations

import functools
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from typing_extensions import ParamSpec

from envelope_codec.errors import ConfigurationError, EnvelopeError

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """Take from ``error`` its traceback and its contexts, and from its causes too; return ``error`` itself.

    Raise it outside of the ``except`` clause that caught it, or Python makes the caught error its context again.
    """
    pending: list[BaseException] = [error]
    seen = set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        # Who cancels may look there for the message that it cancelled with.
        one.__context__ = one.__context__ if isinstance(one.__context__, CancelledError) else None
        pending += [other for other in (one.__context__, *_causes(one)) if other is not None]
    return error


def _causes(error: BaseException) -> tuple[BaseException | None, ...]:
    """Return the causes of ``error`` that may have seen secrets."""
    members: Any = getattr(error, "exceptions", ()) if isinstance(error, Exception) else ()
    group = [member for member in members if isinstance(member, BaseException)] if isinstance(members, tuple) else []
    # A module that can't be imported has seen no secrets, and its author needs the traceback.
    cause = None if isinstance(error, ConfigurationError) else error.__cause__
    return (cause, *group)


def frameless(work: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function whose errors leave the library: raise them from a frame that holds none of its variables."""

    @functools.wraps(work)
    def outer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except BaseException as error:
            failure = without_frames(error)
        del args, kwargs
        try:
            raise failure
        finally:
            del failure  # which would refer to this frame, and this frame to it

    return outer


def frameless_async(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a coroutine function as `frameless` decorates a function."""

    @functools.wraps(work)
    async def outer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await work(*args, **kwargs)
        except BaseException as error:
            failure = without_frames(error)
        del args, kwargs
        try:
            raise failure
        finally:
            del failure

    return outer


def place_of(error: BaseException) -> str:
    """Return the class of ``error`` and the lines that it passed through, for a log. Its words may be a secret."""
    return encodable(f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}".rstrip())


def text_of(error: BaseException, *, limit: int | None = None, chain: bool = True) -> str:
    """Return ``error`` as Python prints it, words included, for a log: an error of code that is not ours. Never raises.

    Use it instead of ``exc_info``, which hands the frames themselves to every handler of the log.

    Args:
        limit: as `traceback.format_exception` has it.
        chain: whether its causes and contexts are printed as well.
    """
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, limit=limit, chain=chain)
        return encodable("".join(lines).rstrip())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # Python asks an error of anyone's class for its class, its notes, its members
        return f"{type(error).__name__}, which can't be printed"


def encodable(text: str) -> str:
    """Return ``text`` with lone surrogates spelled out: no log handler can write them."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_expected(error: BaseException) -> bool:
    """Say whether ``error`` explains itself, so that nobody needs to know where it came up."""
    return isinstance(error, EnvelopeError) or not isinstance(error, Exception)
