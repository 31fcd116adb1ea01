"""What one hostile caller of the codec server costs the others, and how much memory many callers take together.

The server runs as a process of its own on loopback, with the default budgets and a made-up KMS that takes 20 ms a call.
An honest caller decodes before and during each attack:

- slow bodies: one caller begins 400 requests and never ends a body;
- records that nobody sealed: one caller sends 6 requests at a time of 1,000 each, which a KMS has to refuse, while the
  honest one reads what no key is at hand for;
- no token: 8 connections ask without one, as fast as they are answered;
- memory: callers of many names send as large bodies as fit, all at once: one large payload, many, a large tree, base64
  of the other alphabet, escapes, wide characters.

It is the section ``server`` of ``benchmarks/hostile.py``.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import jwt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.hostile_figure import Figure
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, build_record, record_head

ISSUER = "https://login.example.com/"
KMS_SECONDS = 0.02
SAMPLES = 40
POD = 512  # MiB: the limit in deploy/kubernetes.yaml
BAR = 1_000.0  # ms, for the median of an honest request under attack, on a machine that the attacker shares
BAR_LINES = 700  # that requests of nobody may have in the audit trail: 600 at once, and what comes back meanwhile
_MIB = 2**20
_START = 60.0


class Server(NamedTuple):
    """A running codec server.

    Attributes:
        port: on 127.0.0.1.
        pid: of its process.
        secret: signs tokens.
        audit: its audit trail.
    """

    port: int
    pid: int
    secret: bytes
    audit: Path

    def bearer(self, subject: str) -> dict[str, str]:
        """A header with a token of ``subject``."""
        claims = {"iss": ISSUER, "aud": "codec", "sub": subject, "exp": int(time.time()) + 3_600}
        return {"Authorization": f"Bearer {jwt.encode(claims, self.secret, 'HS256')}"}

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        with suppress(OSError):
            connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        return 0, b""

    @property
    def peak(self) -> float:
        """MiB of memory that it had at most."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


def serve(port: int, folder: Path) -> None:
    """Run the server: with a made-up KMS, and otherwise as it is by default."""
    import uvicorn

    from envelope_codec import EnvelopeConfig
    from envelope_codec.server import ServerConfig, create_app
    from envelope_codec.server.run import UvicornConfig
    from envelope_codec.testing import FakeKms

    with suppress(ModuleNotFoundError):  # what a server has loaded that asks AWS
        import boto3

        boto3.client("kms", region_name="us-east-1")
    key = FakeKms("fakekms://k")
    key.before_call = lambda operation: time.sleep(KMS_SECONDS)
    config = ServerConfig(
        listen=f"127.0.0.1:{port}",
        auth=[{"issuer": ISSUER, "audience": "codec", "secret_file": str(folder / "secret")}],
        rules=[
            {"claims": {"sub": "mallory"}, "namespaces": "a"},
            {"claims": {"sub": "ada"}, "namespaces": "b-*", "verbs": ["decode", "encode"]},
            {"claims": {"sub": "many-*"}, "namespaces": "c", "verbs": ["decode", "encode"]},
        ],
        audit_file=str(folder / "audit"),
        trusted_proxies="127.0.0.1",
    )
    uvicorn.run(create_app(EnvelopeConfig(key=key), config), **_options(UvicornConfig, config))


def _options(kind: Any, config: Any) -> dict[str, Any]:
    settings = kind(lambda: None, config)
    names = ("http", "ws", "lifespan", "log_config", "access_log", "proxy_headers", "forwarded_allow_ips")
    found = {name: getattr(settings, name) for name in names}
    return {**found, "host": "127.0.0.1", "port": config.addresses[0].port, "log_level": "warning"}


@contextmanager
def running() -> Iterator[Server]:
    """A server until the end."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        folder = Path(name)
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
        free.close()
        secret = base64.b64encode(os.urandom(32))
        (folder / "secret").write_bytes(secret)
        command = [sys.executable, __file__, str(port), name]
        log = (folder / "log").open("wb")
        process = subprocess.Popen(command, stderr=log)
        server = Server(port, process.pid, secret, folder / "audit")
        try:
            end = time.monotonic() + _START
            while server.ask("/decode", b"{}", server.bearer("ada"))[0] != 200:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"the server does not start: {(folder / 'log').read_text()}")
                time.sleep(0.05)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_START)
            log.close()


# --- the honest caller -----------------------------------------------------------------------------------------------


def warm(server: Server, name: str) -> bytes:
    """A request whose keys are at hand."""
    body = cold(server, name)
    server.ask("/decode", body, server.bearer("ada"))
    return body


def cold(server: Server, name: str) -> bytes:
    """A request whose key the KMS has to be asked for."""
    plain = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": base64.b64encode(b"x" * 1_024).decode()}
    status, sealed = server.ask(f"/b-{name}/encode", json.dumps({"payloads": [plain]}).encode(), server.bearer("ada"))
    if status != 200:
        raise SystemExit(f"the honest caller can't encode: {status}")
    return sealed


class Seen(NamedTuple):
    """What the honest caller saw: how often it was answered, and seconds of these."""

    answered: int
    asked: int
    times: list[float]

    @property
    def median(self) -> float:
        """Milliseconds."""
        return 1e3 * statistics.median(self.times or [float("inf")])

    @property
    def longest(self) -> float:
        """Milliseconds."""
        return 1e3 * max(self.times or [float("inf")])


def honest(server: Server, bodies: list[bytes]) -> Seen:
    """Decode each of ``bodies``."""
    times, bearer = [], server.bearer("ada")
    for body in bodies:
        begun = time.perf_counter()
        if server.ask("/decode", body, bearer)[0] == 200:
            times.append(time.perf_counter() - begun)
    return Seen(len(times), len(bodies), times)


@contextmanager
def flooding(threads: int, attack: Callable[[], object]) -> Iterator[None]:
    """``attack``, again and again in so many threads, until the end."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            attack()

    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    time.sleep(1)  # so that the attack is under way
    try:
        yield
    finally:
        over.set()
        for thread in started:
            thread.join()


# --- the attacks -----------------------------------------------------------------------------------------------------


def slow_bodies(server: Server) -> Iterator[tuple[str, Seen]]:
    """Requests without end."""
    bodies = [warm(server, "slow")] * SAMPLES
    yield "before", honest(server, bodies)
    head = f"POST /decode HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.bearer('mallory')['Authorization']}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    with ExitStack() as stack:
        for _ in range(400):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(head.encode())
        yield "during", honest(server, bodies)


def refused_records(server: Server) -> Iterator[tuple[str, Seen]]:
    """Records that no KMS opens."""
    yield "before", honest(server, [cold(server, f"before-{n}") for n in range(SAMPLES)])
    bodies = [cold(server, f"during-{n}") for n in range(SAMPLES)]
    attacks = [hostile(1_000, n) for n in range(6)]
    bearer, numbers = server.bearer("mallory"), itertools.count()
    with flooding(6, lambda: server.ask("/decode", attacks[next(numbers) % 6], bearer)):
        yield "during", honest(server, bodies)


def hostile(count: int, seed: int) -> bytes:
    """A request with so many records that nobody sealed."""
    payloads = []
    for number in range(count):
        head = record_head(Purpose.WRAPPING_KEY, seed * count + number, {"temporal-namespace": "a"})
        record = build_record(head, os.urandom(32), [Recipient("fakekms://k", "1", bytes(60))])
        metadata = {**record.metadata, NAME_DATA_KEY: os.urandom(40)}
        encoded = {name: base64.b64encode(value).decode() for name, value in metadata.items()}
        payloads.append({"metadata": encoded, "data": base64.b64encode(os.urandom(60)).decode()})
    return json.dumps({"payloads": payloads}).encode()


def no_token(server: Server) -> Iterator[tuple[str, Seen]]:
    """Requests of nobody."""
    bodies = [warm(server, "token")] * SAMPLES
    yield "before", honest(server, bodies)
    with flooding(8, lambda: server.ask("/decode", b"{}", {"X-Forwarded-For": "192.0.2.1"})):
        yield "during", honest(server, bodies * 4)


def strangers(server: Server) -> int:
    """How many audit lines there are of requests of nobody."""
    return sum(1 for line in server.audit.read_text().splitlines() if not json.loads(line).get("subject"))


def memory(server: Server) -> None:
    """Callers of many names send as much as fits: each kind of body by itself."""
    size = 10 * _MIB
    kinds = [
        sealed(server, 11 * _MIB, 1),
        sealed(server, 10_500, 1_000),
        many_nodes(),
        b'{"payloads":[{"data":"' + b"-_-_" * (size // 4) + b'"}]}',
        b'{"payloads":[{"metadata":{"' + b"\\n" * (size // 2) + b'":""}}]}',
        b'{"payloads":[{"metadata":{"' + b"a" * size + "\U0001f600".encode() + b'":""}}]}',
    ]
    numbers = itertools.count()
    for body in kinds:
        bearers = [server.bearer(f"many-{number}") for number in range(24)]
        with flooding(4, partial(_asked, server, body, bearers, numbers)):
            time.sleep(2)


def _asked(server: Server, body: bytes, bearers: list[dict[str, str]], numbers: Iterator[int]) -> None:
    server.ask("/decode", body, bearers[next(numbers) % len(bearers)])


def sealed(server: Server, size: int, count: int) -> bytes:
    """A request with so many payloads of so many bytes."""
    plain = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": base64.b64encode(os.urandom(size)).decode()}
    body = json.dumps({"payloads": [plain] * count}).encode()
    status, answer = server.ask("/c/encode", body, server.bearer("many-0"))
    if status != 200:
        raise SystemExit(f"can't encode: {status}")
    return answer


def many_nodes() -> bytes:
    """A small text that is a large tree."""
    return json.dumps({"payloads": [{"metadata": {f"{n}-{m}": "" for m in range(100)}} for n in range(500)]}).encode()


ATTACKS = {"slow bodies": slow_bodies, "refused records": refused_records, "no token": no_token}


async def figures() -> list[Figure]:
    """What the honest caller notices of each attack, and how much memory the server takes."""
    return await asyncio.to_thread(lambda: list(_figures()))


def _figures() -> Iterator[Figure]:
    for name, attack in ATTACKS.items():
        with running() as server:
            before, during = (seen for _, seen in attack(server))
            yield Figure(f"{name}: honest requests without an answer", during.asked - during.answered, "", 0)
            note = f"before {before.median:.1f} ms; longest {during.longest:.0f} ms, before {before.longest:.0f} ms"
            yield Figure(f"{name}: median of honest requests", during.median, " ms", BAR, note)
            if name == "no token":
                yield Figure(f"{name}: audit lines of these requests", strangers(server), "", BAR_LINES)
    with running() as server:
        before_all = server.peak
        memory(server)
        yield Figure("memory: at most, of a pod", server.peak, " MiB", POD, f"before {before_all:.0f} MiB")


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
