"""Sending of answers in pieces, so that the part that a client does not read yet is still counted."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PIECE = 65_536
"""Bytes that are sent at once."""


async def deliver(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send ``response``. Return once all but the last piece is on its way, or the client is gone."""
    body = memoryview(response.body)
    if len(body) <= PIECE:
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    for begin in range(0, len(body), PIECE):
        piece, more = body[begin : begin + PIECE], begin + PIECE < len(body)
        await send({"type": "http.response.body", "body": bytes(piece), "more_body": more})
