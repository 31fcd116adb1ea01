"""An introspection endpoint (RFC 7662) on loopback, which knows some tokens, and asks who asks."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

AUDIENCE = "codec"
CLIENT = "codec server"
SECRET = "s3cr:t %/ä"


class IntrospectionServer:
    """A running endpoint.

    Attributes:
        url: of it.
        tokens: what it says of the tokens that it knows. Of others it says that they are not active.
        statuses: with which it answers, for some tokens.
        asked: the tokens that it was asked about, in turn.
        down: while True, it answers with an error.
        go: it answers only once this is set.
    """

    def __init__(self) -> None:
        self.url = ""
        self.tokens: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, int] = {}
        self.asked: list[str] = []
        self.down = False
        self.go = threading.Event()
        self.go.set()

    def settings(self, folder: Path, **changes: Any) -> dict[str, Any]:
        """The codec server's settings for it."""
        (folder / "client-secret").write_text(f"{SECRET}\n")
        return {
            "issuer": "https://opaque.example.com/",
            "audience": AUDIENCE,
            "introspection_url": self.url,
            "introspection_client_id": CLIENT,
            "introspection_secret_file": str(folder / "client-secret"),
            **changes,
        }

    def know(self, token: str, **changes: Any) -> dict[str, str]:
        """Make it know a token, for some minutes. Return a header with it. None in ``changes`` leaves something out."""
        said = {"active": True, "sub": "ada", "aud": AUDIENCE, "exp": int(time.time()) + 600, **changes}
        self.tokens[token] = {name: value for name, value in said.items() if value is not None}
        return {"Authorization": f"Bearer {token}"}

    def answer(self, headers: Any, body: bytes) -> tuple[int, Any]:
        """Answer a request as RFC 7662 says: 401 to those who are not its client."""
        form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
        if headers["Content-Type"] != "application/x-www-form-urlencoded" or "token" not in form:
            return 400, {"error": "invalid_request"}
        if self._read_client(headers, form) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        self.asked.append(form["token"])
        self.go.wait(60)
        status = 503 if self.down else self.statuses.get(form["token"], 200)
        return status, self.tokens.get(form["token"], {"active": False})

    def _read_client(self, headers: Any, form: dict[str, str]) -> tuple[str, str]:
        scheme, _, pair = headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return form.get("client_id", ""), form.get("client_secret", "")
        name, _, secret = base64.b64decode(pair).decode().partition(":")
        return unquote_plus(name), unquote_plus(secret)


@contextmanager
def introspecting() -> Iterator[IntrospectionServer]:
    """Answer requests until the end."""
    endpoint = IntrospectionServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, document = endpoint.answer(self.headers, self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/introspect?realm=a"
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
