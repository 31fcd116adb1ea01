"""Errors without the frames that they passed through.

An error reporter sends away what it finds in an error: the local variables of every frame of its traceback, and of the
errors that it came up in. In the middle of our work those are keys and plaintext. So whatever leaves, leaves through a
function here: it is raised anew from a frame that holds nothing, and what is logged is text.
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
    """``error`` itself, with no traceback and no errors that it came up in; of its causes only the words are left.

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
    """The causes of ``error`` that may have seen secrets."""
    members: Any = getattr(error, "exceptions", ()) if isinstance(error, Exception) else ()
    group = [member for member in members if isinstance(member, BaseException)] if isinstance(members, tuple) else []
    # What can't be imported has seen none, and its traceback is what its author needs.
    cause = None if isinstance(error, ConfigurationError) else error.__cause__
    return (cause, *group)


def frameless(work: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function whose errors leave: they are raised from a frame without its arguments and variables."""

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
    """`frameless` for a coroutine function."""

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
    """The class of ``error`` and the lines that it passed through, for a log. Not its words, which may be a secret."""
    return encodable(f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}".rstrip())


def text_of(error: BaseException, *, limit: int | None = None, chain: bool = True) -> str:
    """``error`` as Python prints it, words and all, for a log: of code that is not ours. Never raises.

    For ``exc_info``, which hands the frames themselves to whoever listens to the log.

    Args:
        limit: as `traceback.format_exception` has it.
        chain: whether the errors that it came up in are told as well.
    """
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, limit=limit, chain=chain)
        return encodable("".join(lines).rstrip())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # Python asks an error of anyone's class for its class, its notes, its members
        return f"{type(error).__name__}, which can't be printed"


def encodable(text: str) -> str:
    """``text`` with lone surrogates spelled out, which no log handler could write."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_expected(error: BaseException) -> bool:
    """Whether ``error`` says by itself what has happened, so that nobody needs its place."""
    return isinstance(error, EnvelopeError) or not isinstance(error, Exception)
