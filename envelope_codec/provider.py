"""For authors of providers: how a call of a KMS ends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, TypeVar

from typing_extensions import ParamSpec

from envelope_codec._frames import is_expected, place_of, without_frames
from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=MasterKey)

UNEXPECTED = "the provider failed unexpectedly"
"""Reason of the error that stands for a fault of a provider, or of the SDK under it."""


def asks_kms(operation: str) -> Callable[[Callable[Concatenate[Any, P], T]], Callable[Concatenate[Any, P], T]]:
    """Decorate a method of a `MasterKey` that asks its KMS for ``operation``, ``wrap`` or ``unwrap``.

    What it raises leaves without the frames that it passed through, which hold the secret. An error that is not one of
    `EnvelopeError` is a fault of the provider: the log has its class and its place, and callers get `KmsUnavailable`,
    for it says nothing of the key.
    """

    def decorate(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
        @functools.wraps(method)
        def outer(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(self, *args, **kwargs)
            except BaseException as error:
                failure = without_frames(error) if is_expected(error) else _fault(error, operation, self.key_id)
            del self, args, kwargs
            try:
                raise failure
            finally:
                del failure

        return outer

    return decorate


def _fault(error: BaseException, operation: str, key_id: str) -> EnvelopeError:
    logger.error("the provider of %s failed unexpectedly at %s: %s", key_id, operation, place_of(error))
    return KmsUnavailable(UNEXPECTED, operation=operation, key_id=key_id)
