"""A codec server of one's own, on a free port of loopback, and what goes to it and comes back."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import ExternalStorage, StorageDriver

from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.server import ServerConfig, create_app
from envelope_codec.server.run import UvicornConfig
from envelope_codec.server.web.address import Address
from envelope_codec.server.web.listener import bind

LOOPBACK = "127.0.0.1"
SECONDS = 30.0
"""How long to wait for what must happen. Reached only where it does not."""

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"Ada"')


class CodecServer:
    """A running server.

    Attributes:
        url: of its root.
        http: a client for it.
        service: what it is made of.
    """

    def __init__(self, url: str, http: httpx.Client, service: Any, audit: Path | None) -> None:
        self.url = url
        self.http = http
        self.service = service
        self._audit = audit

    def post(
        self, path: str, payloads: Sequence[Payload] | bytes = (), headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """What it answers to payloads, or to a body that may be anything."""
        content = payloads if isinstance(payloads, bytes) else body(payloads)
        return self.http.post(
            self.url + path, content=content, headers={"Content-Type": "application/json", **(headers or {})}
        )

    def lines(self) -> list[dict[str, Any]]:
        """Its audit trail."""
        assert self._audit is not None
        return [json.loads(line) for line in self._audit.read_text().splitlines()]


class _Quick(uvicorn.Server):
    """Looks ten times as often whether it shall stop."""

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await asyncio.sleep(0.01)


@contextmanager
def serving(
    config: EnvelopeConfig | Any,
    server: ServerConfig | None = None,
    storage: ExternalStorage | StorageDriver | None = None,
    *,
    verify: Any = True,
    port: int = 0,
) -> Iterator[CodecServer]:
    """A server that runs in a thread of this process, at any port unless one is given, and has stopped at the end."""
    server = server or ServerConfig()
    app = create_app(config if isinstance(config, EnvelopeConfig) else EnvelopeConfig(key=config), server, storage)
    [listener] = bind(Address(LOOPBACK, port))
    running = _Quick(UvicornConfig(app, server))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        until(lambda: running.started or not thread.is_alive())
        assert running.started
        scheme = "http" if server.tls_cert is None else "https"
        url = f"{scheme}://{LOOPBACK}:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=SECONDS, verify=verify) as http:
            yield CodecServer(url, http, app.service, Path(server.audit_file) if server.audit_file else None)
    finally:
        running.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


async def sealed(config: Any, namespace: str, *payloads: Payload) -> list[Payload]:
    """``payloads`` as a worker of ``namespace`` seals them."""
    codec = EnvelopeCodec(config, namespace=namespace)
    try:
        return await codec.encode(payloads or [PLAIN])
    finally:
        codec.close()


def body(payloads: Sequence[Payload]) -> bytes:
    """A request's body."""
    return json_format.MessageToJson(Payloads(payloads=payloads)).encode()


def returned(response: httpx.Response) -> list[Payload]:
    """The payloads of an answer."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return list(json_format.Parse(response.content, Payloads()).payloads)


def refused(response: httpx.Response, status: int, code: str) -> httpx.Response:
    """The answer, which must be this refusal, and hold what a refusal holds."""
    assert (response.status_code, response.json().get("error")) == (status, code), response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json()["message"]
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert set(response.json()) == {"error", "message", "request_id"}
    return response


def until(condition: Any) -> None:
    """Wait for ``condition``."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def requests_under_way(service: Any) -> int:
    """How many requests a server is receiving or answering."""
    return int(service.metrics._registry.get_sample_value("envelope_codec_server_requests_under_way"))
