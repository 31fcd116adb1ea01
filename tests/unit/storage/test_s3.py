"""Answers that are not S3's: a proxy's, a gateway's that has lost its route. They say nothing of bucket and payload."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest

from envelope_codec.errors import EnvelopeError, PayloadMissing, StoreRefused, StoreUnavailable
from envelope_codec.storage.s3 import S3Store
from envelope_codec.store import TooLarge
from tests.support.http_server import answering

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

    with answering(Handler) as replies.endpoint:
        yield replies


async def failure(server: Any, operation: str, status: int, body: str, **headers: str) -> EnvelopeError:
    server.status, server.body = status, body
    server.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    store = S3Store(f"s3://bucket?region=us-east-1&endpoint={server.endpoint}&addressing=path")
    with pytest.raises(EnvelopeError) as caught:
        await (store.check() if operation == "check" else store.put(ID, b"") if operation == "put" else store.get(ID))
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


class Endless:
    """A server of S3 whose replies have no end, or another end than they say."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.repeats = 1
        self.sent = 0

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")  # or the next call might use a connection that is about to end
        handler.end_headers()
        with suppress(OSError):  # the client has enough
            for _ in range(self.repeats):
                handler.wfile.write(self.body)
                self.sent += len(self.body)


@pytest.fixture
def endless() -> Iterator[Any]:
    replies: Any = Endless()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            replies.send(self)
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with answering(Handler) as replies.endpoint:
        yield replies


CHUNK = b"10000\r\n" + bytes(2**16) + b"\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Transfer-Encoding": "chunked"}, CHUNK),
        ({"Transfer-Encoding": "chunked", "Content-Length": "4"}, CHUNK),
        ({"Connection": "close"}, bytes(2**16)),
        ({"Content-Length": str(2**40)}, bytes(2**16)),
    ],
)
async def test_a_reply_without_end_is_not_read(endless: Any, headers: dict[str, str], body: bytes) -> None:
    endless.headers, endless.body, endless.repeats = headers, body, 2_000
    store = S3Store(f"s3://bucket?region=us-east-1&endpoint={endless.endpoint}&addressing=path")
    with pytest.raises(TooLarge):
        await store.get_within(ID, 1_000)
    claim = {"bucket": "bucket", "hash_algorithm": "sha256", "key": "k", "hash_value": ""}
    with pytest.raises(TooLarge):
        await store.get_plain(claim, 1_000)
    await store.close()
    assert endless.sent < 2 * 2_000 * len(body)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100_000])
async def test_a_reply_is_read_to_its_end(endless: Any, chunked: bool, size: int) -> None:
    data = bytes(range(1, 101)) * (size // 100) or b"x" * size
    pieces = [data[start : start + 30_000] for start in range(0, len(data), 30_000)]
    endless.headers = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(data))}
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    endless.body = chunks + b"0\r\n\r\n" if chunked else data
    store = S3Store(f"s3://bucket?region=us-east-1&endpoint={endless.endpoint}&addressing=path")
    assert await store.get_within(ID, len(data)) == data
    assert await store.get(ID) == data
    await store.close()


async def test_a_page_of_a_gateway_is_no_success(server: Any) -> None:
    """What it was given is stored nowhere."""
    for operation in ("put", "check"):
        error = await failure(server, operation, 200, HTML, Content_Type="text/html")
        assert (type(error), error.operation) == (StoreUnavailable, "put")
        assert "the answer is not one of S3" in str(error)
    server.headers = {"ETag": '"a"'}
    server.body = ""
    store = S3Store(f"s3://bucket?region=us-east-1&endpoint={server.endpoint}&addressing=path")
    await store.put(ID, b"")
    await store.close()


async def test_an_answer_that_no_parser_takes_is_not_one_of_s3(server: Any) -> None:
    error = await failure(server, "put", 206, "sesame")
    assert "the answer is not one of S3" in str(error)
    error = await failure(server, "put", 307, "", Location=f"{server.endpoint}/elsewhere")
    assert "the answer is not one of S3" in str(error)
