"""A listener on loopback that answers every GET, as an issuer's JWKS does or should not."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """What a request gets. ``Content-Length`` is not added: the end of the connection ends the body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class JwksListener:
    """A running listener.

    Attributes:
        url: of the JWKS.
        seen: the headers of each request.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[dict[str, str]] = []


@contextmanager
def listening(answer: Callable[[], Answer], tls: tuple[Path, Path] | None = None) -> Iterator[JwksListener]:
    """Answer requests until the end.

    Args:
        answer: called for each request.
        tls: files with a certificate and its key, for https.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.seen.append(dict(self.headers))
            status, body, headers = answer()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    listener = JwksListener(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/jwks.json")
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
