"""TCP ports on loopback that misbehave."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOPBACK = "127.0.0.1"


@contextmanager
def closed_port() -> Iterator[str]:
    """``HOST:PORT`` where every connection is refused: bound, so that nobody else can take it, and not listening."""
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        yield _address(taken)


@contextmanager
def silent_port() -> Iterator[str]:
    """``HOST:PORT`` that accepts connections and never answers. Nobody waits for the accept: the kernel does it."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(128)
        yield _address(listener)


@contextmanager
def resetting_port() -> Iterator[str]:
    """``HOST:PORT`` that accepts connections and resets each after the first bytes of a request."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(128)
        over = threading.Event()
        thread = threading.Thread(target=_reset_all, args=(listener, over))
        thread.start()
        try:
            yield _address(listener)
        finally:
            over.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


def _reset_all(listener: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        connection, _ = listener.accept()
        with connection:
            # A client that connects and sends nothing must not keep the others waiting.
            connection.settimeout(1)
            with suppress(OSError):
                connection.recv(1)
            # Lingering for zero seconds makes the close a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"{host}:{port}"
