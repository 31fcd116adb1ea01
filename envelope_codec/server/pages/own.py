"""What the server says of itself: health, readiness, metrics, its description, and the page for people."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from envelope_codec.server.metrics import CONTENT_TYPE
from envelope_codec.server.pages.openapi import description
from envelope_codec.server.pages.page import index
from envelope_codec.server.service import Service
from envelope_codec.server.web.address import is_loopback
from envelope_codec.server.web.refusal import RETRY_SECONDS, Refusal


async def page(service: Service, request: Request, name: str) -> Response:
    """The page of this name. Raises `Refusal` if the caller may not see it."""
    if name == "healthz":
        return _json({"status": "ok"})
    if name == "readyz":
        return await _readiness(service)
    if not service.hosts.allows(request.headers.get("host", "")):
        raise Refusal(
            403, "host_not_allowed", "The server does not go by this name. Its settings url and hosts tell its names."
        )
    if name == "metrics":
        _check_metrics(service, request)
        return Response(service.metrics.exposition(), 200, media_type=CONTENT_TYPE)
    if name == "openapi.json":
        return _json(description(service.server))
    found, without_keys = await asyncio.gather(service.probes.check(), service.tokens.check())
    return index(request, service.server, service.cors, found.ready and not service.stopping, list(without_keys))


async def _readiness(service: Service) -> Response:
    if service.stopping:
        return _json({"status": "stopping", "keys": {}}, 503)
    found = await service.probes.check()
    return _json(
        {"status": "ready" if found.ready else "not ready", "keys": found._asdict()}, 200 if found.ready else 503
    )


def _check_metrics(service: Service, request: Request) -> None:
    allowed = service.server.metrics
    if allowed == "off":
        raise Refusal(404, "not_found", "There is nothing at this path.")
    if allowed == "loopback" and not (request.client and is_loopback(request.client.host)):
        raise Refusal(403, "not_allowed", "Metrics are for callers on the server's own machine.")


def _json(document: Any, status: int = 200) -> Response:
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    return Response(json.dumps(document), status, headers, "application/json")
