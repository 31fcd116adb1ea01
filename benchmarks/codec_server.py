"""Requests a second of the codec server, beside a codec server with one static key.

Each request to ``/decode`` has 50 payloads of 1 KiB, as a page of history in Temporal's Web UI may have. The other
server does what the codec server in Temporal's Python samples does: aiohttp, protobuf's JSON, one AES-GCM key. Both run
as processes of their own on loopback, and are asked in turns, by the same client, with keys at hand.
Run: ``python benchmarks/codec_server.py [--check]``; with ``--check`` it fails if ours is slower by more than its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.static_key import StaticKeyCodec
from envelope_codec import EnvelopeCodec
from envelope_codec.cli.keygen import create_key_file, key_uri

PAYLOADS = 50
SIZE = 1 << 10  # bytes
CONNECTIONS = 8
ROUNDS = 5
SECONDS = 2.0  # of one round
BAR = 1.5
_START = 60.0


class Round(NamedTuple):
    """What a client saw in one round.

    Attributes:
        rate: requests a second.
        times: seconds of each.
    """

    rate: float
    times: list[float]


# --- the other server ------------------------------------------------------------------------------------------------


class KnownKeyCodec(StaticKeyCodec):
    """With a key that another process has, too."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)


def static_server(listener: socket.socket, key: bytes) -> None:
    """A codec server with a static key."""
    codec = KnownKeyCodec(key)

    async def decode(request: web.Request) -> web.Response:
        payloads = json_format.Parse(await request.read(), Payloads())
        found = Payloads(payloads=await codec.decode(payloads.payloads))
        return web.Response(text=json_format.MessageToJson(found), content_type="application/json")

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=16 << 20)
    app.add_routes([web.post("/decode", decode), web.get("/readyz", ready)])
    web.run_app(app, sock=listener, print=None, access_log=None)


# --- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """A server's process, once it is ready."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"it did not start: {' '.join(command)}")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_START)


def _ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# --- the client ------------------------------------------------------------------------------------------------------


def request(codec: PayloadCodec) -> bytes:
    """A request, head and body."""
    plain = [
        Payload(metadata={"encoding": b"json/plain"}, data=b'"' + os.urandom(SIZE // 2).hex().encode()[2:] + b'"')
        for _ in range(PAYLOADS)
    ]
    body = json_format.MessageToJson(Payloads(payloads=asyncio.run(codec.encode(plain))), indent=None).encode()
    head = f"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def one_round(port: int, message: bytes, seconds: float) -> Round:
    """Ask over several connections, each as fast as it is answered."""
    times: list[float] = []
    begun = time.perf_counter()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        while time.perf_counter() - begun < seconds:
            sent = time.perf_counter()
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            body = await reader.readexactly(length)
            times.append(time.perf_counter() - sent)
            if not head.startswith(b"HTTP/1.1 200") or length < PAYLOADS * SIZE or b"x-envelope-failed" in head.lower():
                raise SystemExit(f"a request was not answered: {head!r} {body[:200]!r}")
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return Round(len(times) / (time.perf_counter() - begun), times)


def p99(rounds: list[Round]) -> float:
    """Milliseconds."""
    times = sorted(seconds for one in rounds for seconds in one.times)
    return times[int(len(times) * 0.99)] * 1_000


def compare(ask: dict[str, Callable[[float], Round]]) -> dict[str, list[Round]]:
    """Rounds of all, in turns, after one that does not count."""
    for name in ask:
        ask[name](SECONDS / 2)
    found: dict[str, list[Round]] = {name: [] for name in ask}
    for _ in range(ROUNDS):
        for name in ask:
            found[name].append(ask[name](SECONDS))
    return found


def main() -> int:
    """Run both, print what was seen, and say whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="fail if the codec server is too slow")
    parser.add_argument("--static", metavar="PORT", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.static:
        listener = socket.create_server(("127.0.0.1", arguments.static))
        static_server(listener, bytes.fromhex(os.environ["STATIC_KEY"]))
        return 0

    key, ours, theirs = os.urandom(32), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        create_key_file(Path(folder) / "key.json")
        uri = key_uri(Path(folder) / "key.json")
        settings = {
            "ENVELOPE_CODEC_KEY": uri,
            "ENVELOPE_CODEC_SERVER_RATE_LIMIT": "off",
            "ENVELOPE_CODEC_SERVER_AUDIT_FILE": str(Path(folder) / "audit"),
        }
        serve = [sys.executable, "-m", "envelope_codec.cli", "serve", "--listen", f"127.0.0.1:{ours}"]
        codec = EnvelopeCodec(uri)
        messages = {"envelope": request(codec), "static key": request(KnownKeyCodec(key))}
        codec.close()
        static = [sys.executable, __file__, "--static", str(theirs)]
        with running(serve, ours, settings), running(static, theirs, {"STATIC_KEY": key.hex()}):
            found = compare(
                {
                    "envelope": lambda seconds: asyncio.run(one_round(ours, messages["envelope"], seconds)),
                    "static key": lambda seconds: asyncio.run(one_round(theirs, messages["static key"], seconds)),
                }
            )
    rates = {name: statistics.median(one.rate for one in rounds) for name, rounds in found.items()}
    print(f"/decode, {PAYLOADS} payloads of {SIZE} bytes, {CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS:g} s")
    for name, rounds in found.items():
        print(
            f"{name:>10}: {rates[name]:7.1f} requests/s (median), p99 {p99(rounds):6.1f} ms, "
            f"request {len(messages[name]) / 1024:.0f} KiB"
        )
    # Of rounds next to each other, since a machine's other work comes and goes.
    ratio = statistics.median(b.rate / a.rate for a, b in zip(found["envelope"], found["static key"], strict=True))
    print(f"ratio: {ratio:.2f} times slower than a static key (bar {BAR})")
    return 1 if arguments.check and ratio > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
