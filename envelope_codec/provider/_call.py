"""One call of a KMS, from the SDK's error to the library's."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any, Concatenate, TypeVar

from typing_extensions import ParamSpec

from envelope_codec._facts import Meaning
from envelope_codec._frames import is_expected, place_of, without_frames
from envelope_codec.errors import EnvelopeError
from envelope_codec.observe import logger
from envelope_codec.provider.meanings import FAULT, NO_ANSWER

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_QUOTE = 300


class Failed(Exception):
    """A call failed, and it is known what that means. `asks_kms` turns it into the library's error.

    Args:
        meaning: what it means.
        key_id: the master key concerned, if that is another one than the configured key.
    """

    def __init__(self, meaning: Meaning, *, key_id: str | None = None) -> None:
        super().__init__(meaning.text)
        self.meaning = meaning
        self.key_id = key_id


@dataclass(frozen=True)
class Row:
    """One row of an `ErrorTable`.

    Attributes:
        kind: a class of exceptions, or several.
        meaning: what such an exception means; or a function that decides by the exception and the operation.
        words: what of it the log repeats. None: only the name of its class, for its text may quote a secret.

    Raises:
        TypeError: ``kind`` is no class of exceptions.
    """

    kind: type[BaseException] | tuple[type[BaseException], ...]
    meaning: Meaning | Callable[[Any, str], Meaning]
    words: Callable[[Any], str] | None = None

    def __post_init__(self) -> None:
        for kind in self.kind if isinstance(self.kind, tuple) else (self.kind,):
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"a row of an error table is about a class of exceptions, not {kind!r}")


@dataclass(frozen=True)
class ErrorTable:
    """What the exceptions of an SDK mean.

    What is in no row, and no `Failed`, is a fault of the provider or of its SDK: callers get `KmsUnavailable` with the
    code ``fault``, because the failure says nothing about the key.

    Attributes:
        log: where failures are logged.
        rows: the first one that fits counts, so a class stands before the classes that it derives from.
        is_of_reply: decides about an exception in no row, by the names of the modules that it passed through, outermost
            first: whether the SDK has stumbled over a reply that no KMS sends. That is no fault, but ``no-answer``.
    """

    log: logging.Logger
    rows: Sequence[Row]
    is_of_reply: Callable[[Sequence[str]], bool] = lambda modules: False

    def look_up(self, error: BaseException, operation: str) -> Meaning:
        """Find out what ``error`` means.

        Args:
            error: of any class.
            operation: ``wrap`` or ``unwrap``.
        """
        if isinstance(error, Failed):
            return error.meaning
        row = self._find_row(error)
        if row is None:
            return NO_ANSWER if self._is_of_reply(error) else FAULT
        return row.meaning if isinstance(row.meaning, Meaning) else row.meaning(error, operation)

    def describe(self, error: BaseException) -> str:
        """Describe ``error`` for a log: key ids and endpoints may be in the text, secrets may not."""
        if isinstance(error, Failed):
            return error.meaning.text
        row = self._find_row(error)
        if row is None:
            return place_of(error)
        return type(error).__name__ if row.words is None else row.words(error)

    def make_error(self, error: BaseException, *, operation: str, key_id: str) -> EnvelopeError:
        """Make the library's error for ``error``, and log ``error``, which stays behind.

        Raise the result outside of the ``except`` clause; `asks_kms` does all of this for a method.
        """
        self.log.warning("%s with %s failed: %s", operation, key_id, self.describe(error))
        return self.look_up(error, operation).make_error(operation=operation, key_id=key_id)

    def _find_row(self, error: BaseException) -> Row | None:
        return next((row for row in self.rows if isinstance(error, row.kind)), None)

    def _is_of_reply(self, error: BaseException) -> bool:
        modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
        return bool(modules) and self.is_of_reply(modules)


def quote(error: BaseException) -> str:
    """``error`` with its text, for `Row.words`: of a class whose text never holds a secret."""
    return f"{type(error).__name__}: {str(error)[:_LONGEST_QUOTE]}"


def asks_kms(
    operation: str, errors: ErrorTable | None = None
) -> Callable[[Callable[Concatenate[Any, P], T]], Callable[Concatenate[Any, P], T]]:
    """Decorate a method of a `MasterKey` that asks its KMS.

    An `EnvelopeError` leaves as it is. `Failed` becomes the error that it means. Any other exception becomes what
    ``errors`` says that it means; without a table it is a fault of the provider, `KmsUnavailable`, and the log has its
    class and place. So is an exception that ``errors`` fails to explain. Whatever leaves, leaves without the frames
    that it passed through, which hold the secret.

    Args:
        operation: ``wrap`` or ``unwrap``.
        errors: what the exceptions of the SDK mean.
    """

    def decorate(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
        @functools.wraps(method)
        def outer(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(self, *args, **kwargs)
            except BaseException as error:
                failure = _failure(error, operation, self, errors)
            del self, args, kwargs
            try:
                raise failure
            finally:
                del failure

        return outer

    return decorate


def _failure(error: BaseException, operation: str, master: Any, errors: ErrorTable | None) -> BaseException:
    """Find what leaves for ``error``. Never raises: what leaves from an ``except`` clause takes the secret along."""
    try:
        return _explain(error, operation, master.key_id, errors)
    # Any class: the table and the key id are the provider's own code.
    except Exception as fault:
        logger.error("%s can't explain a failure of %s: %s", type(master).__name__, operation, place_of(fault))
        return FAULT.make_error(operation=operation, key_id=_key_id_of(master))


def _explain(error: BaseException, operation: str, key_id: str, errors: ErrorTable | None) -> BaseException:
    if isinstance(error, Failed):
        return error.meaning.make_error(operation=operation, key_id=error.key_id or key_id)
    if is_expected(error):
        return without_frames(error)
    if errors is not None:
        return errors.make_error(error, operation=operation, key_id=key_id)
    logger.error("the provider of %s failed unexpectedly at %s: %s", key_id, operation, place_of(error))
    return FAULT.make_error(operation=operation, key_id=key_id)


def _key_id_of(master: Any) -> str:
    try:
        return str(master.key_id)
    except Exception:
        return type(master).__name__
