"""The ASGI application: from a request to its answer, its audit line and its metrics."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send
from temporalio.converter import ExternalStorage, StorageDriver

from envelope_codec._frames import place_of, text_of
from envelope_codec.config import EnvelopeConfig
from envelope_codec.observe import logger
from envelope_codec.server.audit import Entry
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.pages.own import page
from envelope_codec.server.service import Service
from envelope_codec.server.web.body import Body
from envelope_codec.server.web.cors import REQUEST_ID_HEADER
from envelope_codec.server.web.exchange import Exchange
from envelope_codec.server.web.gate import Entrance
from envelope_codec.server.web.refusal import Refusal
from envelope_codec.server.web.reply import deliver
from envelope_codec.server.web.target import Target

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GONE = 499  # as nginx logs a client that went away

# What is still taken of a body whose caller is not even looked at.
_SMALL = 65_536  # bytes
_SHORT = 1.0  # seconds


def create_app(
    config: EnvelopeConfig, server: ServerConfig, storage: ExternalStorage | StorageDriver | None = None
) -> CodecServer:
    """The codec server as an ASGI application, to be run by any server that sends it lifespan events.

    Args:
        config: which master keys open and seal.
        server: the settings of the server. ``listen``, TLS, workers, head and shutdown times are whose who runs it.
        storage: what references to external storage lead to; what ``server.storage`` names, if None.

    Raises:
        ConfigurationError: a key, a file or the storage can't be loaded.
    """
    return CodecServer(Service(config, server, storage))


class CodecServer:
    """The ASGI application.

    Args:
        service: what it is made of.
        on_start: called with it once the event loop runs.
    """

    def __init__(self, service: Service, on_start: Callable[[Service], None] = lambda service: None) -> None:
        self.service = service
        self._on_start = on_start
        self._router = Router(default=self._serve, lifespan=self._lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        await self._router(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        self._on_start(self.service)
        self.service.start()
        try:
            yield
        finally:
            self.service.stop()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._router.not_found(scope, receive, send)
            return
        request = Request(scope, receive)
        entry = Entry(_request_id(request.headers), request.client.host if request.client else "")
        with ExitStack() as held:
            try:
                response = await self._answered(request, entry, held)
            except ClientDisconnect:
                return
            await deliver(response, scope, receive, send)

    async def _answered(self, request: Request, entry: Entry, held: ExitStack) -> Response:
        """The answer, once it has been recorded. Raises `ClientDisconnect` if there is nobody to answer."""
        try:
            response, error = await self._answer(request, entry, held), ""
        except Refusal as refused:
            response, error = refused.response(entry.request_id), refused.code
        except ClientDisconnect:
            self._record(request, entry, _GONE, "gone")
            raise
        except Exception as unexpected:
            logger.error("request %s failed unexpectedly: %s", entry.request_id, place_of(unexpected))
            failed = Refusal(500, "internal", "The server failed. The request id leads to its log.")
            response, error = failed.response(entry.request_id), failed.code
        if not self._record(request, entry, response.status_code, error):
            unrecorded = Refusal(503, "audit_unavailable", "The audit trail can't be written. Try again.")
            response = unrecorded.response(entry.request_id)
        response.headers.update(self.service.cors.headers(request.headers))
        response.headers.update(
            {REQUEST_ID_HEADER: entry.request_id, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        )
        return response

    async def _answer(self, request: Request, entry: Entry, held: ExitStack) -> Response:
        service = self.service
        target = Target.of(request.scope.get("raw_path") or request.scope["path"].encode(), service.server.prefix)
        entry.verb = (target and target.verb) or ""
        entrance = await self._entrance(request, entry) if request.method == "POST" else None
        if target is None:
            raise Refusal(404, "not_found", "There is nothing at this path.")
        methods = ("GET", "HEAD") if target.verb is None else ("POST",)
        if request.method == "OPTIONS":
            return self._options(request, methods)
        if request.method not in methods:
            allowed = {"Allow": ", ".join((*methods, "OPTIONS"))}
            raise Refusal(405, "wrong_method", f"Use {methods[0]}.", headers=allowed)
        if target.verb is not None and entrance is not None:
            return await Exchange(service, request, target.verb, target.namespace, entry, entrance, held).answer()
        return await page(service, request, target.page or "")

    async def _entrance(self, request: Request, entry: Entry) -> Entrance:
        try:
            return self.service.gate.enter(request.headers, entry.client)
        except Refusal as refusal:
            self.service.metrics.limited("address")
            if not await Body(request, limit=_SMALL, timeout=_SHORT).drain():
                refusal.headers["Connection"] = "close"
            raise

    def _options(self, request: Request, methods: tuple[str, ...]) -> Response:
        headers = request.headers
        origin = headers.get("origin")
        if origin is not None and not self.service.cors.allows(origin):
            raise Refusal(403, "origin_not_allowed", "Pages of this origin may not use the server.")
        allowed = {"Allow": ", ".join((*methods, "OPTIONS"))}
        return Response(status_code=204, headers={**allowed, **self.service.cors.preflight_headers(headers)})

    def _record(self, request: Request, entry: Entry, status: int, error: str) -> bool:
        """Count a request and write its line, if it asked for payloads. Whether that was possible."""
        service = self.service
        if request.method == "OPTIONS" or (not entry.verb and request.method != "POST"):
            return True
        service.metrics.answered(entry.verb, status, time.perf_counter() - entry.begun, entry.outcomes)
        if error and not service.tally.has_line(entry, status, error):
            return True  # it has been counted
        try:
            service.audit.write(entry.line(status, error))
        except (OSError, ValueError) as unwritable:  # ValueError: the stream has been closed
            logger.error("the audit line of request %s can't be written: %s", entry.request_id, text_of(unwritable))
            return False
        return True


def _request_id(headers: Headers) -> str:
    """The client's own, if it can do no harm in a log."""
    given = headers.get(REQUEST_ID_HEADER.lower(), "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
