"""The application's own codecs, drivers and selectors. What they raise becomes an error of ours, with a fixed text.

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
    """An object that the application brought, and safe calls of it.

    Args:
        role: what the object is for, as people call it: "application's payload codec", "legacy codec".
        subject: the object. The log names its class.
        level: the level of the log's lines.
    """

    def __init__(self, role: str, subject: object, *, level: int = logging.ERROR) -> None:
        self._role = role
        self._subject = subject
        self._level = level

    async def run(self, call: Callable[..., Awaitable[_T]], *args: Any, operation: str | None = None) -> _T:
        """Await ``call(*args)`` and return the result.

        The call runs in a task of its own. So a cancellation of the caller can't be mistaken for one that the call
        made up.

        Raises:
            ExtensionFailed: the call raised. The log has its words.
            EnvelopeError: the call raised one of ours, which is passed on.
            asyncio.CancelledError: the caller's own task was cancelled. Nothing else raises it.
        """
        task = asyncio.get_running_loop().create_task(_catch(call, args))
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
        error = self._translate(raised, operation)
        del raised
        raise error

    def call(self, call: Callable[..., _T], *args: Any, operation: str | None = None) -> _T:
        """Return the result of ``call(*args)``. Raises what `run` raises, without the cancellation."""
        try:
            return call(*args)
        except _ENDS_THE_PROCESS:
            raise
        except BaseException as raised:
            error = self._translate(raised, operation)
        finally:
            del args
        raise error

    def make_error(self, how: str, *, operation: str | None = None) -> ExtensionFailed:
        """Return the error for an answer that is of no use. ``how`` goes to the log."""
        logger.log(self._level, "the %s %s %s", self._role, _class_name(self._subject), how)
        return ExtensionFailed(f"the {self._role} failed", operation=operation)

    def _translate(self, raised: BaseException, operation: str | None) -> EnvelopeError:
        if is_ours(raised):
            return raised.fresh()
        # As text: a record with the frames themselves would hand the arguments to whoever listens to the log.
        logger.log(self._level, "the %s %s failed: %s", self._role, _class_name(self._subject), text_of(raised))
        return ExtensionFailed(f"the {self._role} failed", operation=operation)


def is_ours(raised: BaseException) -> TypeGuard[EnvelopeError]:
    """Whether ``raised`` is one of our errors, with a fixed text. A class that somebody derived from them is not."""
    return type(raised).__module__ == errors.__name__ and isinstance(raised, EnvelopeError)


class ForeignCodec(PayloadCodec, WithSerializationContext):
    """A codec of the application's, with errors of ours.

    Its ``with_context`` returns a codec of this class as well.
    """

    def __init__(
        self, codec: PayloadCodec, *, role: str = "application's payload codec", level: int = logging.ERROR
    ) -> None:
        self.codec = codec
        self.extension = Extension(role, codec, level=level)

    def with_context(self, context: SerializationContext) -> ForeignCodec:
        """Put the codec for ``context`` in place of the codec. Returns the same object where the codec stays."""
        if not isinstance(self.codec, WithSerializationContext):
            return self
        codec: Any = self.extension.call(self.codec.with_context, context)
        if codec is self.codec:
            return self
        other = copy.copy(self)
        other.codec = codec
        return other

    async def encode(self, payloads: Any) -> list[Payload]:
        """Encode with the application's codec. Raises `EnvelopeError` and nothing else."""
        try:
            return self._check(await self.extension.run(_encode, self.codec, payloads, operation="seal"), "seal")
        finally:
            payloads = ()  # the frames of an error may be shown, and these are plaintext

    async def decode(self, payloads: Any) -> list[Payload]:
        """Decode with the application's codec. Raises `EnvelopeError` and nothing else."""
        try:
            return self._check(await self.extension.run(_decode, self.codec, payloads, operation="open"), "open")
        finally:
            payloads = ()

    def _check(self, answer: Any, operation: str) -> list[Payload]:
        payloads = list_payloads(answer)
        del answer
        if payloads is None:
            raise self.extension.make_error("did not return payloads", operation=operation)
        return payloads


def list_payloads(answer: Any) -> list[Payload] | None:
    """Return ``answer`` as a list of payloads. None where it is no such thing."""
    with suppress(Exception):
        payloads = list(answer)
        if all(isinstance(payload, Payload) for payload in payloads):
            return payloads
    return None


async def _encode(codec: PayloadCodec, payloads: Any) -> Any:
    return await codec.encode(payloads)


async def _decode(codec: PayloadCodec, payloads: Any) -> Any:
    return await codec.decode(payloads)


async def _catch(
    call: Callable[..., Awaitable[_T]], args: tuple[Any, ...]
) -> tuple[None, _T] | tuple[BaseException, None]:
    """Return what the call raised and what it returned, one of them None. No task ends with an error."""
    try:
        return None, await call(*args)
    except _ENDS_THE_PROCESS:
        raise
    except BaseException as raised:
        return raised, None
    finally:
        args = ()


def _class_name(extension: object) -> str:
    return getattr(extension, "__qualname__", None) or type(extension).__qualname__
