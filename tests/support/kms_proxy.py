"""A proxy between a provider and its KMS, with faults to switch on."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LOOPBACK = "127.0.0.1"
_CHUNK = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

AWS_THROTTLES = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n",
    b'{"__type":"ThrottlingException","message":"Rate exceeded"}',
)
VAULT_THROTTLES = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n",
    b'{"errors":["request path \\"transit\\": rate limit quota exceeded"]}',
)


class KmsProxy:
    """Forwards what comes to `address`, in a thread of its own.

    Faults may be set and taken back at any time, from any thread.

    Args:
        upstream: ``HOST:PORT`` of the KMS.
        throttles: head and body of the HTTP reply by which this KMS throttles. Without it, what passes is not looked
            into, and nothing is counted or throttled: gRPC.
        watch: is shown all that passes, in either direction.

    Attributes:
        address: ``HOST:PORT`` for the provider.
        requests: HTTP requests for keys so far, the throttled ones included.
        unwraps: how many of them asked Vault to decrypt.
        cut: while True, every connection is closed at once, as by a load balancer whose server is gone.
        broken: connections that came while it was cut.
        delay: seconds by which whatever a client sends is late.
        throttle: how many of the next requests are throttled.
        throttle_half: while True, two of four requests in a row are.
    """

    def __init__(
        self,
        upstream: str,
        throttles: tuple[bytes, bytes] | None = None,
        watch: Callable[[bytes], object] = lambda data: None,
    ) -> None:
        self._watch = watch
        self._upstream = upstream
        self._throttles = throttles
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count()
        self.address = ""
        self.requests = 0
        self.unwraps = 0
        self.broken = 0
        self.delay = 0.0
        self.throttle = 0
        self.throttle_half = False
        self._cut = False

    @property
    def cut(self) -> bool:
        return self._cut

    @cut.setter
    def cut(self, cut: bool) -> None:
        self._cut = cut
        if cut:
            self._loop.call_soon_threadsafe(self._drop)

    @contextmanager
    def running(self) -> Iterator[KmsProxy]:
        """Serve until the block is left."""
        ready = threading.Event()
        thread = threading.Thread(target=self._run, args=(ready,), name="kms-proxy", daemon=True)
        thread.start()
        ready.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()

    def _run(self, ready: threading.Event) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(self._serve, LOOPBACK, 0))
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        ready.set()
        loop.run_forever()
        server.close()
        self._drop()
        loop.run_until_complete(asyncio.gather(*self._connections, return_exceptions=True))
        loop.close()

    def _drop(self) -> None:
        for connection in self._connections:
            connection.cancel()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        to_kms = None
        try:
            if self._cut:
                self.broken += 1
            else:
                host, port = self._upstream.split(":")
                kms, to_kms = await asyncio.open_connection(host, int(port))
                forth = self._requests(client, to_kms, to_client) if self._throttles else self._late(client, to_kms)
                halves = [asyncio.ensure_future(forth), asyncio.ensure_future(self._pipe(kms, to_client))]
                try:
                    await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for half in halves:
                        half.cancel()
                    await asyncio.gather(*halves, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the KMS is gone, or this proxy was cut: so is the connection
        finally:
            self._connections.discard(task)
            for writer in (to_client, to_kms):
                if writer is not None:
                    writer.transport.abort()

    async def _requests(
        self, client: asyncio.StreamReader, to_kms: asyncio.StreamWriter, to_client: asyncio.StreamWriter
    ) -> None:
        """One request after another, whole: no client of HTTP/1.1 here sends the next before it has the reply."""
        assert self._throttles is not None
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                request = await client.readuntil(b"\r\n\r\n")
                if length := _LENGTH.search(request):
                    request += await client.readexactly(int(length[1]))
                self._watch(request)
                about_login = b"/v1/auth/" in request.partition(b"\r\n")[0]  # of Vault: how long a token lives
                self.requests += not about_login
                self.unwraps += b"/decrypt/" in request.partition(b"\r\n")[0]
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not about_login and self._throttled():
                    head, body = self._throttles
                    to_client.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
                    await to_client.drain()
                else:
                    to_kms.write(request)
                    await to_kms.drain()

    def _throttled(self) -> bool:
        if self.throttle > 0:
            self.throttle -= 1
            return True
        return self.throttle_half and next(self._numbers) % 4 < 2

    async def _late(self, client: asyncio.StreamReader, to_kms: asyncio.StreamWriter) -> None:
        """Each chunk late by itself, as on a long line, so that a call in several chunks is not late several times."""
        loop = asyncio.get_running_loop()
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def forward() -> None:
            while True:
                due, chunk = await late.get()
                await asyncio.sleep(due - loop.time())
                to_kms.write(chunk)
                await to_kms.drain()

        forwarding = asyncio.ensure_future(forward())
        try:
            while chunk := await client.read(_CHUNK):
                self._watch(chunk)
                late.put_nowait((loop.time() + self.delay, chunk))
        finally:
            forwarding.cancel()

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(_CHUNK):
            self._watch(chunk)
            sink.write(chunk)
            await sink.drain()
