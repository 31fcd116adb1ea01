"""HTTP/1.1 as uvicorn speaks it, with a time-out for the heads of requests, which it has not."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEAD = 65_536  # bytes: two tokens with many groups fit

_SECONDS = 10.0


class PatientProtocol(H11Protocol):
    """Closes a connection whose client takes too long to send the head of a request, its first or a later one.

    ``header_timeout`` of uvicorn's configuration, if it has one, is how many seconds that is.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._disarm()
        elif self._head_timer is None:
            self._arm()

    def on_response_complete(self) -> None:
        """See `H11Protocol.on_response_complete`."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and self._head_timer is None:
            self._arm()  # the next head came in part while the last request was served

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        seconds = getattr(self.config, "header_timeout", _SECONDS)
        self._head_timer = self.loop.call_later(seconds, self._give_up)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
