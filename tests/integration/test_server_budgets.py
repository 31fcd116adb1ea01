"""One caller, or many without a name, against a real server: others are served, and the server says what it refused."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import JSONProtoPayloadConverter, StorageDriver, StorageDriverClaim

from envelope_codec import EnvelopeConfig, KeyDenied, KmsUnavailable
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, build_record, record_head
from envelope_codec.kms import Unwrapped
from envelope_codec.server import ServerConfig
from envelope_codec.testing import FakeKms
from tests.support.codec_server import (
    LOOPBACK,
    PLAIN,
    SECONDS,
    CodecServer,
    body,
    refused,
    requests_under_way,
    returned,
    sealed,
    serving,
    until,
)
from tests.support.token_issuer import Issuer, issuing

UI = "https://cloud.temporal.io"
RULES = [
    {"claims": {"sub": "mallory"}, "namespaces": ["a", "shared"], "verbs": ["decode", "encode", "download"]},
    {"claims": {"sub": "ada"}, "namespaces": ["b", "shared"]},
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def settings(issuer: Issuer, **more: Any) -> ServerConfig:
    return ServerConfig(auth=[issuer.settings], rules=RULES, origins=UI, **more)


def hostile(number: int, namespace: str) -> Payload:
    """An envelope that takes no key to make, and that a KMS must be asked about to know."""
    head = record_head(Purpose.WRAPPING_KEY, number, {"temporal-namespace": namespace})
    record = build_record(head, os.urandom(32), [Recipient("fakekms://k", "1", b"\0" * 60)])
    return Payload(metadata={**record.metadata, NAME_DATA_KEY: os.urandom(40)}, data=os.urandom(60))


def limited(response: Any, code: str) -> None:
    """A refusal that tells when to come back, also to a page that asked."""
    refused(response, 429, code)
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["access-control-allow-origin"] == UI
    assert "retry-after" in response.headers["access-control-expose-headers"].lower()


def counted(server: CodecServer, budget: str) -> float:
    line = rf'^envelope_codec_refused_total{{reason="{budget}"}} (.*)$'
    found = re.search(line, metrics(server), re.MULTILINE)
    return float(found[1]) if found else 0.0


def metrics(server: CodecServer) -> str:
    return server.http.get("/metrics").text


def alive(server: CodecServer) -> None:
    assert server.http.get("/healthz").status_code == 200
    assert server.http.get("/readyz").status_code == 200


def begun(server: CodecServer, bearer: dict[str, str], sent: bytes, length: int) -> socket.socket:
    """A request whose body does not come to its end."""
    host, port = server.url.split("//")[1].split(":")
    connection = socket.create_connection((host, int(port)), SECONDS)
    head = f"POST /decode HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\nOrigin: {UI}\r\n"
    head += f"Authorization: {bearer['Authorization']}\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + sent)
    return connection


async def test_bodies_that_do_not_come_take_no_place_from_others(issuer: Issuer) -> None:
    key = FakeKms("fakekms://k")
    envelopes = await sealed(key, "b")
    mallory, page = issuer.bearer(sub="mallory"), {"Origin": UI}
    config = settings(issuer, max_requests=2, max_requests_per_caller=6)
    with serving(key, config) as server, ExitStack() as slow:
        for _ in range(6):
            slow.enter_context(begun(server, mallory, b"{", 1_000))
        until(lambda: requests_under_way(server.service) == 6)
        limited(server.post("/decode", [PLAIN], {**mallory, **page}), "too_many_at_once")
        assert counted(server, "requests") == 1
        assert "envelope_codec_server_requests_under_way 6.0" in metrics(server)
        for _ in range(3):
            assert returned(server.post("/decode", envelopes, issuer.bearer())) == [PLAIN]
        alive(server)
        slow.close()
        until(lambda: requests_under_way(server.service) == 0)
        assert returned(server.post("/decode", [PLAIN], mallory)) == [PLAIN]


class Hanging(FakeKms):
    """Does not answer about records that it has not wrapped itself, until it is let."""

    def __init__(self) -> None:
        super().__init__("fakekms://k")
        self.go = threading.Event()
        self.known: set[str] = set()
        self.hanging = 0

    def wrap(self, secret: bytes, context: Any) -> Any:
        self.known.add(context["envelope-codec:id"])
        return super().wrap(secret, context)

    def unwrap(self, wrapped: Any, context: Any) -> Unwrapped:
        if context["envelope-codec:id"] not in self.known:
            self.hanging += 1
            assert self.go.wait(SECONDS)
        return super().unwrap(wrapped, context)


@pytest.mark.parametrize("namespace", ["b", "shared"])
async def test_records_of_one_caller_that_wait_keep_no_record_of_another_waiting(
    issuer: Issuer, namespace: str
) -> None:
    key = Hanging()
    hostiles = [hostile(n, "shared") for n in range(200)]
    mallory = issuer.bearer(sub="mallory")
    with serving(key, settings(issuer)) as server, ThreadPoolExecutor(3) as pool:
        try:
            floods = [pool.submit(server.post, "/decode", hostiles[n::3], mallory) for n in range(3)]
            until(lambda: key.hanging == 16)
            until(lambda: re.search(r"^envelope_codec_server_waiting [1-9]", metrics(server), re.MULTILINE))
            for _ in range(3):  # each is cold: a codec of its own has sealed it
                envelopes = await sealed(key, namespace)
                assert returned(await asyncio.to_thread(server.post, "/decode", envelopes, issuer.bearer())) == [PLAIN]
            assert key.hanging == 16
            alive(server)
        finally:
            key.go.set()
        assert {flood.result().status_code for flood in floods} <= {400, 429}
    assert server.service.opener._single._keys._turns.taken == 0


def test_what_a_kms_refused_is_bounded_for_each_caller(issuer: Issuer, tmp_path: Path) -> None:
    key = FakeKms("fakekms://k")
    [warm], honest = asyncio.run(sealed(key, "a")), asyncio.run(sealed(key, "b"))
    mallory, page = issuer.bearer(sub="mallory"), {"Origin": UI}
    config = settings(
        issuer, refused_rate_limit="5/day", max_concurrent_kms_per_caller=1, audit_file=str(tmp_path / "audit")
    )
    with serving(key, config) as server:
        assert returned(server.post("/decode", [warm], mallory)) == [PLAIN]
        before = key.unwraps
        hostiles = [hostile(n, "a") for n in range(20)]
        limited(server.post("/decode", hostiles, {**mallory, **page}), "too_many_refused")
        assert key.unwraps - before == 5
        assert counted(server, "refused_unwraps") == 15
        assert server.lines()[-1]["failed"] == {"InvalidCiphertext": 5, "TooManyRefused": 15}
        response = server.post("/decode", [warm, hostiles[0]], mallory)  # what is at hand opens
        assert (returned(response)[0], response.headers["x-envelope-failed"]) == (PLAIN, "1")
        assert returned(server.post("/decode", honest, issuer.bearer())) == [PLAIN]
        # What a KMS does open counts for nobody.
        for _ in range(8):
            assert returned(server.post("/decode", asyncio.run(sealed(key, "b")), issuer.bearer())) == [PLAIN]


def test_an_outage_counts_for_nobody(issuer: Issuer) -> None:
    key = FakeKms("fakekms://k")
    config = EnvelopeConfig(key=key, timeout=0.05)
    cold = [asyncio.run(sealed(key, "b"))[0] for _ in range(4)]
    with serving(config, settings(issuer, refused_rate_limit="2/day")) as server:
        key.down = True
        for payload in cold:
            refused(server.post("/decode", [payload], issuer.bearer()), 503, "kms_unavailable")
        key.down = False
        assert returned(server.post("/decode", cold, issuer.bearer())) == [PLAIN] * 4


def test_bytes_under_way_are_bounded_for_each_and_for_all(issuer: Issuer) -> None:
    mallory, ada, page = issuer.bearer(sub="mallory"), issuer.bearer(), {"Origin": UI}
    large = [Payload(data=b"x" * 37_000)]  # 50 KiB
    assert 49_000 < len(body(large)) < 51_000
    config = settings(issuer, body_limit="60KiB", max_body_bytes_per_caller="100KiB", max_body_bytes="110KiB")
    with serving(FakeKms(), config) as server, ExitStack() as slow:
        held = server.service.admission._bytes
        for _ in range(2):
            slow.enter_context(begun(server, mallory, b"x" * 40_000, 50_000))
        until(lambda: held.used == 80_000)
        assert "envelope_codec_server_body_bytes 80000.0" in metrics(server)
        limited(server.post("/decode", large, {**mallory, **page}), "too_many_bytes")
        response = refused(server.post("/decode", large, ada), 503, "busy")  # no room for anybody
        assert response.headers["retry-after"] == "1"
        assert counted(server, "bytes") == 2
        assert returned(server.post("/decode", [PLAIN], ada)) == [PLAIN]
        alive(server)
        slow.close()
        until(lambda: held.used == 0)
        assert returned(server.post("/decode", large, mallory)) == large
        until(lambda: held.used == 0)
        # A small text may be a large tree: what it will take is counted, not its length.
        tree = b'{"payloads":[{"metadata":{' + b",".join(b'"%d":""' % n for n in range(1_000)) + b"}}]}"
        limited(server.post("/decode", tree, {**mallory, **page}), "too_many_bytes")


def test_an_answer_that_nobody_takes_does_not_stay(issuer: Issuer) -> None:
    large = [Payload(data=os.urandom(6_000_000))]
    with serving(FakeKms(), settings(issuer, body_timeout=2)) as server:
        held = server.service.admission._bytes
        text = body(large)
        with begun(server, issuer.bearer(), b"", len(text)) as connection:
            connection.sendall(text)
            connection.recv(1)  # the answer has begun
            assert held.used > 6_000_000
            until(lambda: held.used == 0)
            with suppress(ConnectionError):
                taken = sum(len(piece) for piece in iter(lambda: connection.recv(1 << 20), b""))
                assert taken < len(text)
        assert returned(server.post("/decode", large, issuer.bearer())) == large


def test_who_has_no_believed_token_is_counted_by_address_before_the_token_is_looked_at(
    issuer: Issuer, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    config = settings(
        issuer, rate_limit="1000/day", address_rate_limit="10/day", audit_file=str(audit), trusted_proxies=LOOPBACK
    )
    ada, page = issuer.bearer(), {"Origin": UI}
    with serving(FakeKms("fakekms://k"), config) as server:
        assert returned(server.post("/decode", [PLAIN], ada)) == [PLAIN]
        found = Counter(server.post("/decode", b"{}").status_code for _ in range(30))
        assert found == {401: 10, 429: 20}
        expired = [server.post("/decode", b"{}", {**issuer.bearer(sub="bob", exp=1), **page}) for _ in range(20)]
        for response in expired:
            limited(response, "too_many_from_address")
        limited(server.post("/nothing", b"{}", page), "too_many_from_address")
        limited(server.post("/decode", b"{}", {**page, **issuer.bearer(sub="mallory")}), "too_many_from_address")
        # Who was believed there comes in, by that token and by the next; and so does everybody from elsewhere.
        for bearer in (ada, issuer.bearer(jti="next")):
            assert returned(server.post("/decode", [PLAIN], bearer)) == [PLAIN]
        other = {"X-Forwarded-For": "192.0.2.1"}
        assert returned(server.post("/decode", [PLAIN], {**issuer.bearer(sub="mallory"), **other})) == [PLAIN]
        refused(server.post("/decode", [PLAIN], other), 401, "unauthenticated")
        # One network of IPv6 is one address.
        for n in range(10):
            refused(server.post("/decode", b"{}", {"X-Forwarded-For": f"2001:db8::{n}"}), 401, "unauthenticated")
        limited(server.post("/decode", b"{}", {"X-Forwarded-For": "2001:db8::ff", **page}), "too_many_from_address")
        alive(server)
        assert counted(server, "address") == 20 + 20 + 1 + 1 + 1
        lines = [line["error"] for line in server.lines()]
        assert lines.count("unauthenticated") == 10 + 1 + 10
        assert lines.count("too_many_from_address") == 2  # of each address, the first in a minute
    *_, summary = server.lines()
    assert (summary["event"], summary["requests"]) == ("refused", 20 + 20 + 1 + 1 - 1)
    assert summary["most"] == [
        {
            "client": LOOPBACK,
            "issuer": "",
            "subject": "",
            "status": 429,
            "error": "too_many_from_address",
            "requests": 41,
        }
    ]


def test_who_asks_too_often_does_not_fill_the_audit_trail(issuer: Issuer, tmp_path: Path) -> None:
    with serving(FakeKms(), settings(issuer, rate_limit="3/day", audit_file=str(tmp_path / "audit"))) as server:
        found = Counter(server.post("/decode", [PLAIN], issuer.bearer()).status_code for _ in range(40))
        assert found == {200: 3, 429: 37}
        assert len(server.lines()) == 4
    assert (server.lines()[-1]["requests"], server.lines()[-1]["most"][0]["subject"]) == (36, "ada")


@pytest.mark.parametrize("path", ["/", "/metrics", "/openapi.json"])
def test_the_server_s_pages_answer_to_its_own_names(path: str) -> None:
    with serving(FakeKms(), ServerConfig(url="https://codec.example.com", hosts="codec.svc")) as server:
        for host in ("127.0.0.1:1", "localhost", "[::1]:8081", "codec.example.com", "codec.svc:8081"):
            assert server.http.get(path, headers={"Host": host}).status_code == 200
        refused(server.http.get(path, headers={"Host": "evil.example"}), 403, "host_not_allowed")
        for health in ("/healthz", "/readyz"):
            assert server.http.get(health, headers={"Host": "evil.example"}).status_code == 200


def test_one_address_has_so_many_connections() -> None:
    with serving(FakeKms(), ServerConfig(max_connections_per_address=3)) as server, ExitStack() as open_:
        host, port = server.url.split("//")[1].split(":")
        for _ in range(3):
            connection = open_.enter_context(socket.create_connection((host, int(port)), SECONDS))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        with socket.create_connection((host, int(port)), SECONDS) as more, suppress(ConnectionError):
            more.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert more.recv(65_536) == b""
        connection.close()
        until(lambda: _connects(server))


def _connects(server: CodecServer) -> bool:
    try:
        return server.http.get("/healthz").status_code == 200
    except Exception:
        return False


class Moody(Hanging):
    """Hangs, denies, is down or fails with a bug, in turns."""

    calls = 0

    def unwrap(self, wrapped: Any, context: Any) -> Unwrapped:
        if context["envelope-codec:id"] in self.known:
            return FakeKms.unwrap(self, wrapped, context)
        self.calls += 1
        mood = self.calls % 4
        if mood == 0:
            return super().unwrap(wrapped, context)
        if mood == 1:
            raise KmsUnavailable("down", operation="unwrap")
        if mood == 2:
            raise TypeError("a bug")
        raise KeyDenied("denied", operation="unwrap")


class Lost(StorageDriver):
    """Has nothing, or a payload that was not asked for, or fails."""

    def name(self) -> str:
        return "lost"

    async def store(self, context: Any, payloads: Any) -> Any:
        raise NotImplementedError

    async def retrieve(self, context: Any, claims: Sequence[StorageDriverClaim]) -> list[Payload]:
        kind = claims[0].claim_data["kind"]
        if kind == "hang":
            with suppress(asyncio.CancelledError):  # as a driver may that does not know better
                await asyncio.sleep(3_600)
            kind = "large"
        return {"none": [], "plain": [PLAIN], "large": [Payload(data=bytes(2**20))]}[kind]


def lost(kind: str) -> Payload:
    found = ExternalStorageReference(driver_name="lost", claim_data={"kind": kind})
    payload = JSONProtoPayloadConverter().to_payload(found)
    assert payload is not None
    return payload


def test_after_a_storm_of_failures_of_every_kind_every_budget_is_whole(issuer: Issuer, tmp_path: Path) -> None:
    key = Moody()
    mallory = issuer.bearer(sub="mallory")
    config = EnvelopeConfig(key=key, timeout=0.5)
    limits = settings(
        issuer, rate_limit="off", request_timeout=0.4, body_timeout=0.3, header_timeout=0.3, body_limit="2MiB",
        max_body_bytes="6MiB", max_body_bytes_per_caller="4MiB", audit_file=str(tmp_path / "audit"),
    )  # fmt: skip
    references = [lost(kind) for kind in ("none", "plain", "large", "hang", "missing")]
    hostiles = [hostile(n, "a") for n in range(24)]
    asked: list[tuple[str, Any, dict[str, str]]] = [
        ("/decode", hostiles, mallory),
        ("/decode", [*references, *hostiles[:4]], mallory),
        *(("/download", [reference], mallory) for reference in references),
        ("/download", [PLAIN], mallory),
        ("/a/encode", [PLAIN], mallory),
        ("/b/encode", [PLAIN], mallory),
        ("/%ff/encode", [PLAIN], mallory),
        ("/b/decode", [PLAIN], mallory),
        ("/decode", b"[" * 10_000, mallory),
        ("/decode", b'{"payloads":[' + b"{}," * 2_000 + b"{}]}", mallory),
        ("/decode", b" " * 3_000_000, mallory),
        ("/decode", b'{"payloads":[' + b'"",' * 90_000 + b"{}]}", mallory),
        ("/decode", [Payload(data=bytes(1_500_000))], mallory),
        ("/decode", b"{}", {**mallory, "Content-Encoding": "gzip"}),
        ("/decode", b"{}", {**mallory, "Content-Type": "text/plain"}),
        ("/decode", b"{}", {**mallory, "Origin": "https://evil.example"}),
        ("/decode", b"{}", {**mallory, "Expect": "100-continue"}),
        ("/decode", b"{}", issuer.bearer(sub="eve")),
        ("/decode", b"{}", {}),
        ("/nothing", b"{}", mallory),
    ]
    head = b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Authorization: {mallory['Authorization']}\r\n".encode()
    cut = [
        head,
        head + b"Content-Length: 100\r\n\r\n{",
        head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nxyz\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1_000,
        head + b"Content-Length: 2000000\r\n\r\n" + b" " * 1_900_000,
        (head + b'Content-Length: 15\r\n\r\n{"payloads":[]}') * 20,
        head + b"Content-Length: %d\r\n\r\n" % len(body(hostiles)) + body(hostiles),
    ]
    with serving(config, limits, Lost()) as server, ThreadPoolExecutor(8) as pool:
        address = server.url.split("//")[1].split(":")

        def break_off(text: bytes, half: bool) -> int:
            with suppress(OSError), socket.create_connection((address[0], int(address[1])), SECONDS) as connection:
                connection.sendall(text)
                if half:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1_000)
            return 0

        def post(path: str, sent: Any, headers: dict[str, str]) -> int:
            with suppress(httpx.HTTPError):  # a connection may end before its body has been sent
                return server.post(path, sent, headers).status_code
            return 0

        try:
            storm = [pool.submit(post, *each) for each in asked * 3]
            storm += [pool.submit(break_off, text, half) for text in cut * 3 for half in (True, False)]
            found = Counter(each.result() for each in storm)
        finally:
            key.go.set()
        assert {400, 401, 403, 404, 413, 415, 429, 503} <= set(found), found
        service = server.service
        admission, opener = service.admission, service.opener
        turns = (opener._single._keys._turns, opener._single._at_stores)

        def whole() -> bool:
            budgets = [admission._requests, admission._slots, admission._bytes]
            budgets += [budget for each in turns for budget in (each._callers, each._namespaces)]
            return requests_under_way(service) == 0 and not any(budget.used or budget.callers for budget in budgets)

        until(whole)
        assert [turn.waiting for turn in turns] == [0, 0]
        for name in ("requests_under_way", "body_bytes", "waiting"):
            assert f"envelope_codec_server_{name} 0.0" in metrics(server)
        envelopes = asyncio.run(sealed(key, "a"))
        assert returned(server.post("/decode", envelopes, mallory)) == [PLAIN]
        alive(server)
