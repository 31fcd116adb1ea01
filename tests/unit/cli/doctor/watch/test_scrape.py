"""One request for metrics, to whatever answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from envelope_codec.cli.doctor.watch import scrape as module
from envelope_codec.cli.doctor.watch.scrape import AddressUnusable, ScrapeFailed, parse_address, scrape
from envelope_codec.testing.listeners import silent_port

PATIENCE = 30.0
"""Seconds. Reached only where something hangs."""


@contextmanager
def answering(*pieces: bytes, until: Callable[[], bool] | None = None) -> Iterator[str]:
    """An address whose every connection gets these bytes. With ``until``, the last of them come again and again."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    asked.append(connection.recv(65_536))
                    for piece in pieces:
                        connection.sendall(piece)
                    while until is not None and not until():
                        connection.sendall(pieces[-1])
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:9464", "http://localhost:9464/metrics"),
        ("http://localhost:9464", "http://localhost:9464/metrics"),
        ("https://codec.example.com/prefix/metrics?x=1", "https://codec.example.com/prefix/metrics?x=1"),
        ("http://[::1]:9464/", "http://[::1]:9464/"),
    ],
)
def test_an_address_may_be_short(given: str, url: str) -> None:
    assert parse_address(given).geturl() == url


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ftp://localhost/metrics",
        "file:///etc/passwd",
        "http://",
        "http://x:99999/",
        "http://h/\r\nx",
        "http://a b/",
    ],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(AddressUnusable, match="no address of metrics"):
        parse_address(given)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(AddressUnusable) as refused:
        parse_address("http://me:marigold@localhost/metrics")
    assert "marigold" not in str(refused.value)


def test_metrics_are_read() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"x 1\n") as address:
        assert scrape(parse_address(address), PATIENCE) == "x 1\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "status 403"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "something else than HTTP"),
        (b"", "something else than HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 100_000 + b"\r\n\r\n", "something else than HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "something else than HTTP"),
    ],
)
def test_other_answers_are_told(answer: bytes, said: str) -> None:
    with answering(answer) as address, pytest.raises(ScrapeFailed, match=said):
        scrape(parse_address(address), PATIENCE)


def test_a_body_without_an_end_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 2**20)
    head, ended = b"HTTP/1.1 200 OK\r\n\r\n", threading.Event()
    with answering(head, b"x" * 65_536, until=ended.is_set) as address:
        try:
            with pytest.raises(ScrapeFailed, match="more than 1 MiB"):
                scrape(parse_address(address), PATIENCE)
        finally:
            ended.set()


def test_drops_that_never_end_are_not_waited_for() -> None:
    head, ended = b"HTTP/1.1 200 OK\r\n\r\n", threading.Event()

    def drop() -> bool:
        return ended.wait(0.02)

    with answering(head, b"x", until=drop) as address:
        try:
            with pytest.raises(ScrapeFailed, match="no whole answer in time"):
                scrape(parse_address(address), 0.3)
        finally:
            ended.set()


def test_silence_is_not_waited_for() -> None:
    with silent_port() as address, pytest.raises(ScrapeFailed, match="no answer in time"):
        scrape(parse_address(address), 0.2)


def test_nobody_there_is_told() -> None:
    with pytest.raises(ScrapeFailed, match="can't be reached"):
        scrape(parse_address("127.0.0.1:1"), PATIENCE)


def test_bytes_that_are_no_text_are_read_as_far_as_they_go() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"\xff\xfe1\n") as address:
        assert scrape(parse_address(address), PATIENCE).endswith("1\n")
