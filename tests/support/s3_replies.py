"""Error replies of Amazon S3 that LocalStack does not give, from a server of this test.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.support.http_server import answering

_BODY = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{message}</Message><Resource>/astray</Resource>
<RequestId>4442587FB7D0A2F9</RequestId></Error>"""


class S3Replies:
    """Answers every request with one error.

    Attributes:
        status: of HTTP.
        code: of S3.
        message: of S3.
        requests: the headers of each.
        endpoint: URL.
    """

    def __init__(self) -> None:
        self.status, self.code, self.endpoint = 500, "InternalError", ""
        self.message = "Of arn:aws:iam::123:user/sesame"
        self.requests: list[dict[str, str]] = []

    @contextmanager
    def running(self) -> Iterator[S3Replies]:
        """Serve until the block is left."""
        replies = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # which tells clients to go on that ask before they send a body

            def _reply(self) -> None:
                replies.requests.append({name.lower(): value for name, value in self.headers.items()})
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = (
                    b"" if self.command == "HEAD" else _BODY.format(code=replies.code, message=replies.message).encode()
                )
                self.send_response(replies.status)
                if replies.status == 301:
                    self.send_header("x-amz-bucket-region", "eu-central-1")
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = _reply

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        with answering(Handler) as self.endpoint:
            yield self
