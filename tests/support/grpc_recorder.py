"""A gRPC server that hands each call to another server as it is, and keeps what was asked and answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
import grpc.aio  # type: ignore[import-untyped,unused-ignore]

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
]
_OF_HTTP = ("content-type", "user-agent", "te", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding")
_STARTS_WITHIN = 10.0  # seconds


class GrpcRecorder(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    """Forwards unary calls, which all of Temporal's are, in a thread with an event loop of its own.

    Args:
        upstream: ``HOST:PORT`` of the server.

    Attributes:
        address: ``HOST:PORT`` for clients.
        calls: the name of the method (``StartWorkflowExecution``), the request's bytes and those of the answer. They
            are kept when the answer comes; for a call that failed those of the answer are empty.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()], daemon=True)
        self.address = ""
        self.calls: list[tuple[str, bytes, bytes]] = []

    def __enter__(self) -> GrpcRecorder:
        self._thread.start()
        assert self._ready.wait(_STARTS_WITHIN)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of any method."""
        return grpc.unary_unary_rpc_method_handler(self._handler(handler_call_details.method))

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with grpc.aio.insecure_channel(self._upstream, options=_OPTIONS) as self._channel:
            server = grpc.aio.server(options=_OPTIONS)
            server.add_generic_rpc_handlers([self])
            self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            self._ready.set()
            await self._over.wait()
            await server.stop(0)

    def _handler(self, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def forward(request: bytes, context: Any) -> bytes:
            metadata = [pair for pair in context.invocation_metadata() if pair[0] not in _OF_HTTP]
            remaining = context.time_remaining()
            call = self._channel.unary_unary(method)(request, metadata=metadata, timeout=remaining)
            try:
                answer: bytes = await call
            except grpc.aio.AioRpcError as error:
                self.calls.append((method.rpartition("/")[2], request, b""))
                context.set_trailing_metadata(tuple(error.trailing_metadata()))
                await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata()))
                raise
            self.calls.append((method.rpartition("/")[2], request, answer))
            return answer

        return forward
