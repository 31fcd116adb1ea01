"""The ASGI application. It answers each request, and writes its audit line and its metrics."""

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
from envelope_codec.server.pages.dispatch import answer_page
from envelope_codec.server.service import Service
from envelope_codec.server.web.body import Body
from envelope_codec.server.web.cors import REQUEST_ID_HEADER
from envelope_codec.server.web.exchange import Exchange
from envelope_codec.server.web.gate import Entrance
from envelope_codec.server.web.refusal import OUTAGE_FOR_BROWSERS, Refusal
from envelope_codec.server.web.reply import deliver
from envelope_codec.server.web.route import Route

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SERVER_ERRORS = 500  # and above
_CLIENT_GONE = 499  # the status with which nginx logs a client that went away

# How much is still read of the body of a request that is kept out at the gate.
_DRAIN_BYTES = 65_536
_DRAIN_SECONDS = 1.0


def create_app(
    config: EnvelopeConfig, server: ServerConfig, storage: ExternalStorage | StorageDriver | None = None
) -> CodecServer:
    """Make the codec server as an ASGI application. Any server that sends lifespan events can run it.

    Args:
        config: which master keys open and seal.
        server: the settings of the server. ``listen``, TLS, ``workers``, ``header_timeout`` and the shutdown times have
            no effect here: they are for whatever runs the application.
        storage: where references to external storage lead; if None, what ``server.storage`` names.

    Raises:
        ConfigurationError: a key, a file or the storage can't be loaded.
    """
    return CodecServer(Service(config, server, storage))


class CodecServer:
    """The ASGI application.

    Args:
        service: everything that requests share.
        on_start: called with the service once the event loop runs.
    """

    def __init__(self, service: Service, on_start: Callable[[Service], None] = lambda service: None) -> None:
        self.service = service
        self._on_start = on_start
        self._router = Router(default=self._serve, lifespan=self._lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope, as the ASGI specification has it."""
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
                response = await self._answer_and_record(request, entry, held)
            except ClientDisconnect:
                return
            await deliver(response, scope, receive, send)

    async def _answer_and_record(self, request: Request, entry: Entry, held: ExitStack) -> Response:
        """Return the answer, once it has been recorded. Raises `ClientDisconnect` if there is nobody to answer."""
        try:
            response, error = await self._answer(request, entry, held), ""
        except Refusal as refused:
            response, error = refused.response(entry.request_id, request.headers), refused.code
        except ClientDisconnect:
            self._record(request, entry, _CLIENT_GONE, "gone")
            self._count(request, entry, _CLIENT_GONE, "gone")
            raise
        except Exception as unexpected:
            logger.error("request %s failed unexpectedly: %s", entry.request_id, place_of(unexpected))
            failed = Refusal(500, "internal", "The server failed. The request id leads to its log.")
            response, error = failed.response(entry.request_id, request.headers), failed.code
        if not self._record(request, entry, response.status_code, error):
            unrecorded = Refusal(503, "audit_unavailable", "The audit trail can't be written. Try again.")
            response, error = unrecorded.response(entry.request_id, request.headers), unrecorded.code
        self._count(request, entry, response.status_code, error)
        response.headers.update(self.service.cors.headers(request.headers))
        response.headers.update(
            {REQUEST_ID_HEADER: entry.request_id, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        )
        return response

    async def _answer(self, request: Request, entry: Entry, held: ExitStack) -> Response:
        service = self.service
        route = Route.parse(request.scope.get("raw_path") or request.scope["path"].encode(), service.server.prefix)
        entry.verb = (route and route.verb) or ""
        entry.route = route and route.template
        entrance = await self._pass_gate(request, entry) if request.method == "POST" else None
        if route is None:
            raise Refusal(404, "not_found", "There is nothing at this path.")
        methods = ("GET", "HEAD") if route.verb is None else ("POST",)
        if request.method == "OPTIONS":
            return self._answer_options(request, methods)
        if request.method not in methods:
            allowed = {"Allow": ", ".join((*methods, "OPTIONS"))}
            raise Refusal(405, "wrong_method", f"Use {methods[0]}.", headers=allowed)
        if route.verb is not None and entrance is not None:
            return await Exchange(service, request, route.verb, route.namespace, entry, entrance, held).answer()
        return await answer_page(service, request, route.page or "")

    async def _pass_gate(self, request: Request, entry: Entry) -> Entrance:
        try:
            return self.service.gate.enter(request.headers, entry.client)
        except Refusal as refusal:
            self.service.metrics.count_limited("address")
            if not await Body(request, limit=_DRAIN_BYTES, timeout=_DRAIN_SECONDS).drain():
                refusal.headers["Connection"] = "close"
            raise

    def _answer_options(self, request: Request, methods: tuple[str, ...]) -> Response:
        headers = request.headers
        origin = headers.get("origin")
        if origin is not None and not self.service.cors.allows(origin):
            raise Refusal(403, "origin_not_allowed", "Pages of this origin may not use the server.")
        allowed = {"Allow": ", ".join((*methods, "OPTIONS"))}
        return Response(status_code=204, headers={**allowed, **self.service.cors.preflight_headers(headers)})

    def _record(self, request: Request, entry: Entry, status: int, error: str) -> bool:
        """Write the audit line of a request that asked for payloads. Return False if that is not possible."""
        service = self.service
        if not _asks_for_payloads(request, entry):
            return True
        if error and not service.tally.has_line(entry, status, error):
            return True  # it has been counted
        try:
            service.audit.write(entry.line(status, error))
        except (OSError, ValueError) as unwritable:  # ValueError: the stream has been closed
            logger.error("the audit line of request %s can't be written: %s", entry.request_id, text_of(unwritable))
            return False
        return True

    def _count(self, request: Request, entry: Entry, status: int, error: str) -> None:
        """Count a request, with the status that it is sent, and its payloads."""
        metrics = self.service.metrics
        ours = status >= _SERVER_ERRORS or status in (_CLIENT_GONE, OUTAGE_FOR_BROWSERS)
        seconds = time.perf_counter() - entry.begun
        metrics.count_request(request.method, entry.route, status, seconds, error if ours else "")
        metrics.count_outcomes(entry.outcomes)


def _asks_for_payloads(request: Request, entry: Entry) -> bool:
    return request.method != "OPTIONS" and bool(entry.verb or request.method == "POST")


def _request_id(headers: Headers) -> str:
    """Return the client's own request id, if it can do no harm in a log, or else a new one."""
    given = headers.get(REQUEST_ID_HEADER.lower(), "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
