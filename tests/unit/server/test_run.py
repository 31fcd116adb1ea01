"""What whoever reaches the server can have logged is bounded."""

from __future__ import annotations

import logging

from envelope_codec.server.run import RateLimit


def test_one_text_is_logged_so_often_a_minute() -> None:
    rate_limit = RateLimit("3/minute")

    def record(level: int, text: str, *arguments: object) -> logging.LogRecord:
        return logging.LogRecord("uvicorn.error", level, "", 0, text, arguments, None)

    assert [rate_limit.filter(record(logging.WARNING, "Invalid HTTP request.")) for _ in range(5)] == [True] * 3 + [
        False
    ] * 2
    assert rate_limit.filter(record(logging.WARNING, "another"))
    assert all(rate_limit.filter(record(logging.INFO, "Started %d", n)) for n in range(9))
