"""Answers are sent in pieces."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from envelope_codec.server.web.reply import PIECE, deliver


async def test_a_large_answer_comes_in_pieces_and_whole() -> None:
    for size in (0, PIECE, PIECE + 1, 3 * PIECE):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        content = bytes(number % 251 for number in range(size))
        await deliver(Response(content), {"type": "http", "headers": []}, None, send)  # type: ignore[arg-type]
        assert sent[0]["type"] == "http.response.start"
        pieces = sent[1:]
        assert b"".join(piece["body"] for piece in pieces) == content
        assert max(len(piece["body"]) for piece in pieces) <= PIECE
        assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
