"""A server that speaks as much of S3 as a keystore needs, and that may ignore conditions or refuse to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler

from tests.support.http_server import answering


class S3Objects:
    """Objects in memory.

    Attributes:
        heeds: names of the conditions that the server knows, in lower case.
        takes_writes: whether writing is permitted.
        endpoint: URL.
        objects: by path.
    """

    def __init__(self) -> None:
        self.heeds, self.takes_writes, self.endpoint = {"if-match", "if-none-match"}, True, ""
        self.objects: dict[str, bytes] = {}

    @contextmanager
    def running(self) -> Iterator[S3Objects]:
        """Serve until the block is left."""
        kept = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # which tells clients to go on that ask before they send a body

            def do_GET(self) -> None:
                data = kept.objects.get(self.path)
                self._reply(404, "NoSuchKey") if data is None else self._reply(200, data=data)

            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                there = kept.objects.get(self.path)
                given = {name.lower(): value for name, value in self.headers.items() if name.lower() in kept.heeds}
                if not kept.takes_writes:
                    self._reply(403, "AccessDenied")
                elif "if-none-match" in given and there is not None:
                    self._reply(412, "PreconditionFailed")
                elif "if-match" in given and there is None:
                    self._reply(404, "NoSuchKey")
                elif "if-match" in given and given["if-match"] != _etag(there or b""):
                    self._reply(412, "PreconditionFailed")
                else:
                    kept.objects[self.path] = data
                    self._reply(200, tag=_etag(data))

            def _reply(self, status: int, code: str = "", data: bytes = b"", tag: str = "") -> None:
                body = f"<Error><Code>{code}</Code></Error>".encode() if code else data
                self.send_response(status)
                self.send_header("ETag", tag or _etag(data))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        with answering(Handler) as self.endpoint:
            yield self


def _etag(data: bytes) -> str:
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'
