"""The application's own codecs, drivers and selectors: what they raise becomes ours, with a fixed text.

Temporal's SDK stores the text of whatever a codec or a driver raises in clear ("Failed encoding completion: …"). It
also takes some classes as orders: a ``FailureError`` that is not retryable fails a workflow for good, and a
``CancelledError`` leaves a run stuck.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeGuard, TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, SerializationContext, WithSerializationContext

from envelope_codec import errors
from envelope_codec._frames import text_of
from envelope_codec.errors import EnvelopeError, ExtensionFailed
from envelope_codec.observe import logger

_T = TypeVar("_T")
_ENDS_THE_PROCESS = (KeyboardInterrupt, SystemExit)


class Extension:
    """Something that the application brought, and how it is called.

    Args:
        kind: what it is, for people: "application's payload codec", "legacy codec".
        of: the object, whose class the log names.
        level: of the log's lines.
    """

    def __init__(self, kind: str, of: object, *, level: int = logging.ERROR) -> None:
        self._kind = kind
        self._of = of
        self._level = level

    async def awaited(self, call: Callable[..., Awaitable[_T]], *args: Any, operation: str | None = None) -> _T:
        """What ``call(*args)`` gives when it is awaited.

        It runs in a task of its own, so that a cancellation of the caller is told from one that the call made up.

        Raises:
            ExtensionFailed: it raised. The log has its words.
            EnvelopeError: it raised one of ours, which is passed on.
            asyncio.CancelledError: the caller's own task was cancelled, and nothing else.
        """
        task = asyncio.get_running_loop().create_task(_caught(call, args))
        del args  # the frames of an error may be shown, and these may be plaintext
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        # Something else may have cancelled the task before it began to run.
        raised, value = (asyncio.CancelledError(), None) if task.cancelled() else task.result()
        del task
        if raised is None:
            return value  # type: ignore[return-value]
        error = self._ours(raised, operation)
        del raised
        raise error

    def called(self, call: Callable[..., _T], *args: Any, operation: str | None = None) -> _T:
        """What ``call(*args)`` gives. Raises as `awaited`, but no cancellation."""
        try:
            return call(*args)
        except _ENDS_THE_PROCESS:
            raise
        except BaseException as raised:
            error = self._ours(raised, operation)
        finally:
            del args
        raise error

    def failed(self, how: str, *, operation: str | None = None) -> ExtensionFailed:
        """The error for an answer that is of no use. ``how`` goes to the log."""
        logger.log(self._level, "the %s %s %s", self._kind, _name_of(self._of), how)
        return ExtensionFailed(f"the {self._kind} failed", operation=operation)

    def _ours(self, raised: BaseException, operation: str | None) -> EnvelopeError:
        if is_ours(raised):
            return raised.fresh()
        # As text: a record with the frames themselves would hand the arguments to whoever listens to the log.
        logger.log(self._level, "the %s %s failed: %s", self._kind, _name_of(self._of), text_of(raised))
        return ExtensionFailed(f"the {self._kind} failed", operation=operation)


def is_ours(raised: BaseException) -> TypeGuard[EnvelopeError]:
    """Whether it is an error of ours, with a fixed text: not one that somebody has derived from them."""
    return type(raised).__module__ == errors.__name__ and isinstance(raised, EnvelopeError)


class ForeignCodec(PayloadCodec, WithSerializationContext):
    """A codec of the application's, whose errors are ours.

    What its ``with_context`` returns is one as well.
    """

    def __init__(
        self, codec: PayloadCodec, *, kind: str = "application's payload codec", level: int = logging.ERROR
    ) -> None:
        self.codec = codec
        self.extension = Extension(kind, codec, level=level)

    def with_context(self, context: SerializationContext) -> ForeignCodec:
        """See `WithSerializationContext.with_context`. The same object where the codec does not change."""
        if not isinstance(self.codec, WithSerializationContext):
            return self
        codec: Any = self.extension.called(self.codec.with_context, context)
        if codec is self.codec:
            return self
        other = copy.copy(self)
        other.codec = codec
        return other

    async def encode(self, payloads: Any) -> list[Payload]:
        """See `PayloadCodec.encode`. Raises `EnvelopeError` and nothing else."""
        try:
            return self._checked(await self.extension.awaited(_encode, self.codec, payloads, operation="seal"), "seal")
        finally:
            payloads = ()  # the frames of an error may be shown, and these are plaintext

    async def decode(self, payloads: Any) -> list[Payload]:
        """See `PayloadCodec.decode`. Raises `EnvelopeError` and nothing else."""
        try:
            return self._checked(await self.extension.awaited(_decode, self.codec, payloads, operation="open"), "open")
        finally:
            payloads = ()

    def _checked(self, answer: Any, operation: str) -> list[Payload]:
        payloads = payloads_of(answer)
        del answer
        if payloads is None:
            raise self.extension.failed("did not return payloads", operation=operation)
        return payloads


def payloads_of(answer: Any) -> list[Payload] | None:
    """``answer`` as a list of payloads, or None where it is none."""
    with suppress(Exception):
        payloads = list(answer)
        if all(isinstance(payload, Payload) for payload in payloads):
            return payloads
    return None


async def _encode(codec: PayloadCodec, payloads: Any) -> Any:
    return await codec.encode(payloads)


async def _decode(codec: PayloadCodec, payloads: Any) -> Any:
    return await codec.decode(payloads)


async def _caught(
    call: Callable[..., Awaitable[_T]], args: tuple[Any, ...]
) -> tuple[None, _T] | tuple[BaseException, None]:
    """The outcome of a call: an error is a value, so that no task dies of it."""
    try:
        return None, await call(*args)
    except _ENDS_THE_PROCESS:
        raise
    except BaseException as raised:
        return raised, None
    finally:
        args = ()


def _name_of(extension: object) -> str:
    kind = extension if isinstance(extension, type) else type(extension)
    return getattr(extension, "__qualname__", None) or kind.__qualname__
