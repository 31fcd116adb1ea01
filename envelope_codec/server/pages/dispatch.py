"""The dispatch of the server's own pages: health, readiness, metrics, its description, and the start page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from envelope_codec.server.metrics import CONTENT_TYPE
from envelope_codec.server.pages.openapi import describe_server
from envelope_codec.server.pages.start_page import State, render_start_page
from envelope_codec.server.service import Service
from envelope_codec.server.web.address import is_loopback
from envelope_codec.server.web.refusal import RETRY_SECONDS, Refusal


async def answer_page(service: Service, request: Request, name: str) -> Response:
    """Return the page of this name. Raises `Refusal` if the caller may not see it."""
    if name == "healthz":
        return _json_response({"status": "ok"})
    if name == "readyz":
        return await _answer_readiness(service)
    if not service.hosts.allows(request.headers.get("host", "")):
        raise Refusal(
            403, "host_not_allowed", "The server does not go by this name. Its settings url and hosts tell its names."
        )
    if name == "metrics":
        _check_metrics(service, request)
        return Response(service.metrics.render(), 200, media_type=CONTENT_TYPE)
    if name == "openapi.json":
        return _json_response(describe_server(service.server))
    found, without_keys = await asyncio.gather(service.probes.check(), service.authenticator.check())
    ready = found.ready and not service.stopping
    return render_start_page(
        request, service.server, service.cors, State(ready, list(without_keys), service.namespaces)
    )


async def _answer_readiness(service: Service) -> Response:
    if service.stopping:
        return _json_response({"status": "stopping", "keys": {}}, 503)
    found = await service.probes.check()
    return _json_response(
        {"status": "ready" if found.ready else "not ready", "keys": found._asdict()}, 200 if found.ready else 503
    )


def _check_metrics(service: Service, request: Request) -> None:
    allowed = service.server.metrics
    if allowed == "off":
        raise Refusal(404, "not_found", "There is nothing at this path.")
    if allowed == "loopback" and not (request.client and is_loopback(request.client.host)):
        raise Refusal(403, "not_allowed", "Metrics are for callers on the server's own machine.")


def _json_response(document: Any, status: int = 200) -> Response:
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    return Response(json.dumps(document), status, headers, "application/json")
