"""Answers that are not S3's: a proxy's, a gateway's that has lost its route. They say nothing of bucket and payload."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from envelope_codec.errors import EnvelopeError, PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.storage.s3 import S3Store

ID = "a" * 32
HTML = "<html><body><h1>Forbidden</h1></body></html>"
BROKEN_HTML = "<html><p>no such route<br>"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    replies = SimpleNamespace(status=500, body="", headers={})

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(replies.status)
            for name, value in {**replies.headers, "Content-Length": str(len(replies.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(replies.body.encode())

        do_GET = do_PUT = do

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        replies.endpoint = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield replies
        running.shutdown()
        thread.join()


async def failure(server: Any, operation: str, status: int, body: str, **headers: str) -> EnvelopeError:
    server.status, server.body = status, body
    server.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    store = S3Store(f"s3://bucket?region=us-east-1&endpoint={server.endpoint}&addressing=path")
    with pytest.raises(EnvelopeError) as caught:
        await (store.put(ID, b"") if operation == "put" else store.get(ID))
    await store.close()
    return caught.value


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["put", "get"])
@pytest.mark.parametrize("body", [HTML, BROKEN_HTML, "", '{"message": "no"}'])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 413, 429])
async def test_an_answer_that_is_not_of_s3_is_no_refusal(server: Any, operation: str, status: int, body: str) -> None:
    error = await failure(server, operation, status, body)
    assert type(error) is StoreUnavailable
    assert "not one of S3" in str(error)


@pytest.mark.slow
async def test_s3_itself_may_leave_the_body_out(server: Any) -> None:
    """Its own headers tell it from others; so do servers that speak a part of S3."""
    for status, operation, kind in (
        (404, "get", PayloadMissing),
        (403, "put", StoreRefused),
        (403, "get", StoreRefused),
    ):
        error = await failure(server, operation, status, "", x_amz_request_id="1")
        assert type(error) is kind


@pytest.mark.slow
async def test_what_has_a_code_is_of_s3(server: Any) -> None:
    for status, code, operation, kind in (
        (404, "NoSuchKey", "get", PayloadMissing),
        (403, "AccessDenied", "put", StoreRefused),
        (404, "NoSuchBucket", "put", StoreRefused),
    ):
        error = await failure(server, operation, status, f"<Error><Code>{code}</Code></Error>")
        assert type(error) is kind
