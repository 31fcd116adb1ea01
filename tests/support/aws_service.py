"""A server that speaks AWS's token service, and counts as every other service of AWS that fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

from tests.support.http_server import answering

_GIVEN = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>hush</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>{expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
_REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>hush</Message></Error><RequestId>1</RequestId></ErrorResponse>"""
_USED = re.compile(r"Credential=(\w+)/")


class AwsService:
    """AssumeRole as the token service does it. All else is answered by HTTP 500.

    Attributes:
        endpoint: URL.
        external_id: what the trust policy asks for.
        minutes: for which the credentials of the first, second, and each later session live.
        sessions: what was asked of the token service, by name of the parameter.
        used: ids of the access keys that other requests were signed with.
        headers: of these requests.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.external_id: str | None = None
        self.minutes = [60.0]
        self.sessions: list[dict[str, str]] = []
        self.used: list[str] = []
        self.headers: list[dict[str, str]] = []

    @contextmanager
    def running(self) -> Iterator[AwsService]:
        """Serve until the block is left."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, text = service._answer(body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = do_POST = do_DELETE = do

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        with answering(Handler) as self.endpoint:
            yield self

    def _answer(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        if b"Action=AssumeRole" not in body:
            self.used += _USED.findall(headers.get("authorization", ""))
            self.headers.append(headers)
            return 500, ""
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if asked.get("ExternalId") != self.external_id:
            return 403, _REFUSED
        minutes = self.minutes[min(len(self.sessions), len(self.minutes) - 1)]
        self.sessions.append(asked)
        expiration = (datetime.now(timezone.utc) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 200, _GIVEN.format(number=len(self.sessions), expiration=expiration)
