"""A proxy between a client and a gRPC server, which tells how many messages passed, and how many of them compressed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_CHUNK = 65_536
_PREFACE = 24  # bytes that a client of HTTP/2 sends first (RFC 9113, section 3.4)
_FRAME_HEAD = 9  # length, type, flags, stream (RFC 9113, section 4.1)
_MESSAGE_HEAD = 5  # whether it is compressed, length (gRPC over HTTP/2, "Length-Prefixed-Message")
_DATA = 0
_PADDED = 0x08


@dataclass
class Flow:
    """What passed in one direction, over all connections.

    Attributes:
        bytes: all bytes, of HTTP/2 as well.
        compressed: gRPC messages that were compressed.
        plain: gRPC messages that were not.
    """

    bytes: int = 0
    compressed: int = 0
    plain: int = 0


@dataclass
class _Frames:
    """Takes one direction of one connection of HTTP/2 apart."""

    flow: Flow
    rest: bytearray = field(default_factory=bytearray)
    streams: dict[int, bytearray] = field(default_factory=dict)

    def feed(self, chunk: bytes) -> None:
        self.flow.bytes += len(chunk)
        self.rest += chunk
        if self.rest.startswith(b"PRI * HTTP/2.0"):
            del self.rest[:_PREFACE]
        while len(self.rest) >= _FRAME_HEAD:
            length = int.from_bytes(self.rest[:3], "big")
            kind, flags = self.rest[3], self.rest[4]
            stream = int.from_bytes(self.rest[5:_FRAME_HEAD], "big")
            if len(self.rest) < _FRAME_HEAD + length:
                return
            content = self.rest[_FRAME_HEAD : _FRAME_HEAD + length]
            del self.rest[: _FRAME_HEAD + length]
            if kind == _DATA:
                if flags & _PADDED:
                    content = content[1 : len(content) - content[0]]
                self._messages(self.streams.setdefault(stream, bytearray()), content)

    def _messages(self, waiting: bytearray, content: bytearray) -> None:
        waiting += content
        while len(waiting) >= _MESSAGE_HEAD:
            end = _MESSAGE_HEAD + int.from_bytes(waiting[1:_MESSAGE_HEAD], "big")
            if len(waiting) < end:
                return
            if waiting[0]:
                self.flow.compressed += 1
            else:
                self.flow.plain += 1
            del waiting[:end]


class GrpcTap:
    """Forwards what comes to `address`, in the running event loop. TLS would hide everything from it.

    Args:
        upstream: ``HOST:PORT`` of the server.

    Attributes:
        address: ``HOST:PORT`` for clients.
        requests: what clients sent.
        replies: what the server sent.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._connections: set[asyncio.Task[None]] = set()
        self.address = ""
        self.requests = Flow()
        self.replies = Flow()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GrpcTap]:
        """Serve until the block is left."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [to_client]
        try:
            host, port = self._upstream.split(":")
            server, to_server = await asyncio.open_connection(host, int(port))
            writers.append(to_server)
            await asyncio.gather(
                _pipe(client, to_server, _Frames(self.requests)), _pipe(server, to_client, _Frames(self.replies))
            )
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or the test is over
        finally:
            self._connections.discard(task)
            for writer in writers:
                writer.transport.abort()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter, frames: _Frames) -> None:
    while chunk := await source.read(_CHUNK):
        frames.feed(chunk)
        sink.write(chunk)
        await sink.drain()
    sink.close()
