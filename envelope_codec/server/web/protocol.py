"""HTTP/1.1 as uvicorn speaks it, with bounds that it has not: on connections, and the time of heads and of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from envelope_codec.server.web.address import Networks, network_of
from envelope_codec.server.web.budget import UNBOUNDED, Budget

LONGEST_HEAD = 65_536  # bytes: two tokens with many groups fit

_SECONDS = 10.0

# Each chunk of a body takes time in which nobody else is served. What sends bodies in chunks sends kilobytes in each.
_CHUNKS = 256
_CHUNK_BYTES = 256


class Connections:
    """How many connections are open from where.

    Args:
        each: so many from one address, of IPv6 from one network.
        free: addresses and networks that may have any number.
    """

    def __init__(self, each: int, free: Sequence[str] = ()) -> None:
        self._budget = Budget(UNBOUNDED, each)
        self._free = Networks(free)

    def open(self, client: str) -> Callable[[], None] | None:
        """Count one, and what ends it; None if it is one too many."""
        if client in self._free:
            return _nothing
        network = network_of(client)
        return None if self._budget.take(network) else partial(self._budget.give_back, network)


def _nothing() -> None:
    """End a connection that was not counted."""


class _Chunked(h11.Connection):
    """Takes no body that comes in many chunks of a few bytes each, and none of two lengths (RFC 9112, 6.1)."""

    _chunks = 0
    _bytes = 0

    def next_event(self) -> Any:
        """See `h11.Connection.next_event`."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            if {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}:
                raise h11.RemoteProtocolError("two lengths")
        elif isinstance(event, h11.Data):
            self._chunks += 1
            self._bytes += len(event.data)
            if self._chunks > _CHUNKS + self._bytes // _CHUNK_BYTES:
                raise h11.RemoteProtocolError("too many small chunks")
        return event


class PatientProtocol(H11Protocol):
    """Closes a connection whose client takes too long to send the head of a request, its first or a later one.

    So it does where a client takes too long to take an answer that it does not read as fast as it comes, or to send
    the rest of a body once it has been answered.

    ``header_timeout`` and ``answer_timeout`` of uvicorn's configuration, if it has them, are how many seconds that is.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    _ended: Callable[[], None] = staticmethod(_nothing)
    _full = False  # whether more lies in the connection's buffer than the client takes

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.conn = _Chunked(h11.SERVER, LONGEST_HEAD)

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        connections: Connections | None = getattr(self.config, "connections", None)
        if connections is not None and self.client is not None:
            ended = connections.open(self.client[0])
            if ended is None:
                transport.abort()
                return
            self._ended = ended
        self._arm()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        super().data_received(data)
        if self._unread:
            return
        if self.conn.their_state is not h11.IDLE:
            self._disarm()
        elif self._head_timer is None:
            self._arm()

    def send_400_response(self, msg: str) -> None:
        """See `H11Protocol.send_400_response`."""
        if self.cycle is not None:  # what it sends from now on would be out of turn
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # an answer has begun, or is over
            self.transport.abort()

    def on_response_complete(self) -> None:
        """See `H11Protocol.on_response_complete`."""
        if not self._full:
            self._disarm_answer()
        super().on_response_complete()
        if self._unread and self._head_timer is None:
            self._arm(getattr(self.config, "answer_timeout", _SECONDS))
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and self._head_timer is None:
            self._arm()  # the next head came in part while the last request was served

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        self._disarm()
        self._disarm_answer()
        self._ended()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol.pause_writing`."""
        super().pause_writing()
        self._full = True
        if self._answer_timer is None:
            self._arm_answer()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol.resume_writing`."""
        super().resume_writing()
        self._full = False
        if self.cycle is None or self.cycle.response_complete:
            self._disarm_answer()

    def timeout_keep_alive_handler(self) -> None:
        """See `H11Protocol.timeout_keep_alive_handler`."""
        super().timeout_keep_alive_handler()
        if self._answer_timer is None:  # closing waits for what is still in the buffer
            self._arm_answer()

    @property
    def _unread(self) -> bool:
        """Whether a request has been answered whose body still comes."""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _arm(self, seconds: float | None = None) -> None:
        if seconds is None:
            seconds = float(getattr(self.config, "header_timeout", _SECONDS))
        self._head_timer = self.loop.call_later(seconds, self._give_up)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _arm_answer(self) -> None:
        # Not closed, which would wait until the client has taken what is in the buffer.
        self._answer_timer = self.loop.call_later(
            getattr(self.config, "answer_timeout", _SECONDS), self.transport.abort
        )

    def _disarm_answer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
