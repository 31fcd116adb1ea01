"""The body of a request, read within bounds of size and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from envelope_codec.server.web.refusal import Refusal

_DRAIN_SECONDS = 2.0


class Body:
    """The body of one request.

    Args:
        request: nobody else may read its body.
        limit: of bytes.
        timeout: seconds for all of it.
    """

    def __init__(self, request: Request, *, limit: int, timeout: float) -> None:
        self._receive = request.receive
        self._headers = request.headers
        self._limit = limit
        self._timeout = timeout
        self._more = True

    async def read(self, take: Callable[[int], None]) -> bytearray:
        """Read all of it.

        Args:
            take: called with a number of bytes before they are kept. It may raise `Refusal`.

        Raises:
            Refusal: the body is too large, too slow, or has a length that is no number; or ``take`` raised it.
            ClientDisconnect: the client went away.
        """
        if self._announced_length() > self._limit:
            raise await self._refuse_size()
        taken = bytearray()
        end = time.monotonic() + self._timeout
        try:
            while self._more and len(taken) <= self._limit:
                more = await asyncio.wait_for(self._next(), end - time.monotonic())
                take(len(more))
                taken += more
        except asyncio.TimeoutError:
            raise Refusal(408, "too_slow", "The body took too long to arrive.", close=True) from None
        if len(taken) > self._limit:
            raise await self._refuse_size()
        return taken

    async def drain(self) -> bool:
        """Read the rest of a body that nobody wants, for a while. Return whether that was all of it.

        A client that still sends when its connection ends may never see the answer.
        """
        if self._headers.get("expect", "").lower() == "100-continue":
            return False
        taken, end = 0, time.monotonic() + min(_DRAIN_SECONDS, self._timeout)
        try:
            while self._more and taken <= self._limit:
                taken += len(await asyncio.wait_for(self._next(), end - time.monotonic()))
        except (asyncio.TimeoutError, ClientDisconnect):
            return False
        return not self._more

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._more = bool(message.get("more_body", False))
        body: bytes = message.get("body", b"")
        return body

    async def _refuse_size(self) -> Refusal:
        done = await self.drain()
        return Refusal(413, "too_large", f"The body is larger than {self._limit} bytes.", close=not done)

    def _announced_length(self) -> int:
        given = self._headers.get("content-length", "0")
        if not (given.isascii() and given.isdecimal() and len(given) < 20):
            raise Refusal(400, "bad_length", "The length of the body is no number.", close=True)
        return int(given)
