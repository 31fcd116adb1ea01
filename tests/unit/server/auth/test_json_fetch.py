"""How a JWKS is asked for: under our name, through the proxies of the environment, and no further than is good."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from envelope_codec import __version__
from envelope_codec.server.auth.json_fetch import LARGEST, FetchFailed, _make_opener, fetch_json
from envelope_codec.testing.listeners import closed_port, silent_port
from tests.support.certificates import write_certificate
from tests.support.jwks_listener import Answer, JwksListener, listening

VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def answering(
    status: int, body: bytes, tls: tuple[Path, Path] | None = None, headers: Mapping[str, str] | None = None
) -> AbstractContextManager[JwksListener]:
    """A listener that gives this answer to every request."""
    return listening(lambda: Answer(status, body, headers or {}), tls)


def test_it_is_asked_for_under_our_name() -> None:
    with answering(200, b'{"keys": []}') as server:
        assert fetch_json(server.url, timeout=30) == {"keys": []}
    assert server.seen[0]["User-Agent"] == f"temporal-envelope-codec/{__version__}"


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (403, b"", {}, "status 403"),
        (302, b"", {"Location": "http://127.0.0.1:1/"}, "status 302"),
        (200, b"<html>", {}, "no JSON"),
        pytest.param(200, b"[" * 20_000, {}, "no JSON", id="deep"),
        (200, b" " * (LARGEST + 1), {}, f"larger than {LARGEST} bytes"),
        (200, b"{", {"Content-Length": "100"}, "no JSON|broke off"),
    ],
)
def test_what_is_no_jwks_is_told(status: int, body: bytes, headers: dict[str, str], said: str) -> None:
    with answering(status, body, headers=headers) as server, pytest.raises(FetchFailed, match=said):
        fetch_json(server.url, timeout=30)


def test_who_does_not_answer_is_not_waited_for() -> None:
    with closed_port() as port, pytest.raises(FetchFailed, match="ConnectionRefusedError"):
        fetch_json(f"http://{port}/", timeout=30)
    with silent_port() as port, pytest.raises(FetchFailed, match=r"no connection|broke off|too long"):
        fetch_json(f"http://{port}/", timeout=0.05)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_who_answers_by_and_by_is_not_waited_for(first: bytes, again: bytes, tls: bool) -> None:
    over = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with suppress(OSError), connection:
            if tls:  # a record of the handshake that does not come to its end
                connection.sendall(b"\x16\x03\x03\x40\x00")
            else:
                connection.sendall(first)
            while not over.wait(0.02):
                connection.sendall(b"\x00" if tls else again)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            scheme = "https" if tls else "http"
            with pytest.raises(FetchFailed, match="takes too long|timed out" if tls else "takes too long"):
                fetch_json(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.5)
        finally:
            over.set()
            thread.join()


@contextmanager
def proxying(to: int) -> Iterator[Any]:
    """A proxy that connects to this port of loopback, whatever host it is asked for. Its ``seen`` has what that was."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            server.seen.append((self.path, self.headers.get("Proxy-Authorization")))
            self.send_response(200)
            self.end_headers()
            with socket.create_connection(("127.0.0.1", to)) as there:
                back = threading.Thread(target=copy, args=(there, self.connection))
                back.start()
                copy(self.connection, there)
                back.join()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_goes_through_the_proxy_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificate(tmp_path / "cert", tmp_path / "key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    with answering(200, b'{"keys": []}', (tmp_path / "cert", tmp_path / "key")) as issuer:
        port = urlsplit(issuer.url).port or 0
        with proxying(port) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://ada:secret@127.0.0.1:{proxy.server_address[1]}")
            with pytest.raises(FetchFailed, match="no connection"):  # the certificate is not of this host
                fetch_json("https://login.example.com/jwks.json", timeout=30)
            assert [path for path, _ in proxy.seen] == ["login.example.com:443"]
            assert proxy.seen[0][1] == "Basic YWRhOnNlY3JldA=="
            assert fetch_json(issuer.url, timeout=30) == {"keys": []}  # loopback is asked directly
            assert len(proxy.seen) == 1


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://login.example.com/", False),
        ("login.example.com", "https://login.example.com/", True),
        (".example.com", "https://login.example.com/", True),
        ("example.org, .example.com", "https://login.example.com:8443/", True),
        ("login.example.com:8443", "https://login.example.com:8443/", True),
        ("*", "https://login.example.com/", True),
        ("example.org", "https://login.example.com/", False),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8,nonsense/9", "https://11.1.2.3/", False),
        ("fd00::/8", "https://[fd00::1]/", True),
        ("", "http://localhost:8080/", True),
        ("", "http://127.0.0.1:8080/", True),
    ],
)
def test_no_proxy_is_heeded(no_proxy: str, url: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    handlers: list[Any] = vars(_make_opener(url))["handlers"]
    assert (not any(getattr(handler, "proxies", None) for handler in handlers)) is direct


def test_a_proxy_that_is_no_url_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http:/ada:secret@proxy")
    with pytest.raises(FetchFailed) as raised:
        fetch_json("https://login.example.com/", timeout=30)
    assert "HTTPS_PROXY" in str(raised.value)
    assert "secret" not in str(raised.value)
