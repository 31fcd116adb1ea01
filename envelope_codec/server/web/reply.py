"""Sending an answer: in pieces, so that what a client does not take does not lie in memory uncounted."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PIECE = 65_536
"""Bytes."""


async def deliver(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send ``response``. It returns once all but the last piece is on its way, or the client is gone."""
    body = memoryview(response.body)
    if len(body) <= PIECE:
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    for begin in range(0, len(body), PIECE):
        piece, more = body[begin : begin + PIECE], begin + PIECE < len(body)
        await send({"type": "http.response.body", "body": bytes(piece), "more_body": more})
