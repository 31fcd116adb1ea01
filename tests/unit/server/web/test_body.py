"""Bodies are read within bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from envelope_codec.server.web.body import Body
from envelope_codec.server.web.refusal import Refusal


def body(*pieces: bytes | None, limit: int = 10, timeout: float = 30.0, **headers: str) -> Body:
    """A body that comes in these pieces. None: the client goes away. After the last piece nothing comes any more."""
    left = list(pieces)

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Body(Request({"type": "http", "headers": raw}, receive), limit=limit, timeout=timeout)


async def refusal(of: Body) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await of.read(lambda count: None)
    return raised.value


async def test_bytes_are_counted_before_they_are_kept() -> None:
    counts: list[int] = []
    assert await body(b"abc", b"de", b"").read(counts.append) == b"abcde"
    assert counts == [3, 2, 0]


async def test_bounds_have_refusals() -> None:
    large = await refusal(body(b"x" * 11, b""))
    assert (large.status, large.code) == (413, "too_large")
    announced = await refusal(body(b"", content_length="11"))
    assert (announced.status, "Connection" in announced.headers) == (413, False)
    endless = await refusal(body(*[b"x" * 11] * 3, timeout=0.01))
    assert endless.headers["Connection"] == "close"
    assert (await refusal(body(b"x", timeout=0.01))).code == "too_slow"
    for length in ("-1", "x", "1" * 20, "\u0663"):
        assert (await refusal(body(b"", content_length=length))).code == "bad_length"


async def test_a_client_that_goes_away_ends_it() -> None:
    with pytest.raises(ClientDisconnect):
        await body(b"a", None).read(lambda count: None)
    assert not await body(b"a", None).drain()


async def test_the_rest_is_drained_unless_the_client_waits_to_be_asked() -> None:
    assert await body(b"a", b"").drain()
    assert not await body(b"", expect="100-continue").drain()
