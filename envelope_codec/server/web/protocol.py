"""HTTP/1.1 as uvicorn speaks it, with bounds that uvicorn lacks: on connections, and on slow heads and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from envelope_codec.server.web.connections import Connections

LONGEST_HEAD = 65_536  # bytes: two tokens with many groups fit

_SECONDS = 10.0

# Each chunk of a body takes time in which nobody else is served. Real clients send kilobytes in each chunk.
_CHUNKS = 256
_CHUNK_BYTES = 256


def _do_nothing() -> None:
    """Stand for the end of a connection that was not counted."""


class _BoundedConnection(h11.Connection):
    """A parser that refuses bodies of many small chunks, and bodies with two lengths (RFC 9112, 6.1)."""

    _chunks = 0
    _bytes = 0

    def next_event(self) -> Any:
        """Parse the next event, and count chunks."""
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
    """A protocol that closes the connections of slow clients.

    It bounds the time in which a client must send the head of each request, read an answer, and send the rest of a body
    that has been answered already.

    ``header_timeout`` and ``answer_timeout`` of uvicorn's configuration, if it has them, are how many seconds that is.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    _uncount: Callable[[], None] = staticmethod(_do_nothing)
    _full = False  # whether more is in the connection's buffer than the client reads

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.conn = _BoundedConnection(h11.SERVER, LONGEST_HEAD)

    def connection_made(self, transport: Any) -> None:
        """Count the connection, and begin to wait for its first head."""
        super().connection_made(transport)
        connections: Connections | None = getattr(self.config, "connections", None)
        if connections is not None and self.client is not None:
            uncount = connections.open(self.client[0])
            if uncount is None:
                transport.abort()
                return
            self._uncount = uncount
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what came. The wait for a head begins with its first byte, and ends with its last."""
        super().data_received(data)
        if self._unread:
            return
        if self.conn.their_state is not h11.IDLE:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._start_head_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that can't be parsed. If an answer has begun already, end the connection instead."""
        if self.cycle is not None:  # its answer would come out of turn from now on
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # an answer has begun, or is complete
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Begin to wait for the rest of the body, or for the next head, once an answer is complete."""
        if not self._full:
            self._stop_answer_timer()
        super().on_response_complete()
        if self._unread and self._head_timer is None:
            self._start_head_timer(getattr(self.config, "answer_timeout", _SECONDS))
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and self._head_timer is None:
            self._start_head_timer()  # a part of the next head came while the last request was served

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waits, and count the connection no more."""
        self._stop_head_timer()
        self._stop_answer_timer()
        self._uncount()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the client, which does not read its answer as fast as it comes."""
        super().pause_writing()
        self._full = True
        if self._answer_timer is None:
            self._start_answer_timer()

    def resume_writing(self) -> None:
        """Take note that the client has read what was in the buffer."""
        super().resume_writing()
        self._full = False
        if self.cycle is None or self.cycle.response_complete:
            self._stop_answer_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. If its buffer is not empty, wait for the client no longer than for an answer."""
        super().timeout_keep_alive_handler()
        if self._answer_timer is None:  # closing waits for what is still in the buffer
            self._start_answer_timer()

    @property
    def _unread(self) -> bool:
        """Whether a request has been answered whose body is still coming."""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _start_head_timer(self, seconds: float | None = None) -> None:
        if seconds is None:
            seconds = float(getattr(self.config, "header_timeout", _SECONDS))
        self._head_timer = self.loop.call_later(seconds, self._close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_answer_timer(self) -> None:
        # Aborted, not closed: closing would wait until the client has read what is in the buffer.
        self._answer_timer = self.loop.call_later(
            getattr(self.config, "answer_timeout", _SECONDS), self.transport.abort
        )

    def _stop_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
