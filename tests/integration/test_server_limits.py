"""Browsers of other origins, limits, slow clients and outages: each gets its status, and the server goes on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig
from envelope_codec.errors import KeyDenied
from envelope_codec.server import ServerConfig
from envelope_codec.testing import FakeKms
from tests.support.codec_server import (
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

KEY = FakeKms()
UI = "https://cloud.temporal.io"
EVIL = "https://cloud.temporal.io.evil.example"
EVERYONE = [{"namespaces": "*", "verbs": ["decode", "encode", "download"]}]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module")
def server(issuer: Issuer) -> Iterator[CodecServer]:
    settings = ServerConfig(
        origins=[UI, "http://localhost:8233"],
        auth=[issuer.settings],
        rules=EVERYONE,
        body_limit="64KiB",
        max_payloads=20,
    )
    with serving(KEY, settings) as running:
        yield running


def allowed(response: httpx.Response, origin: str = UI) -> None:
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["vary"] == "Origin"
    assert "x-envelope-failed" in response.headers["access-control-expose-headers"].lower()


def not_allowed(response: httpx.Response) -> None:
    assert not [name for name in response.headers if name.startswith("access-control-")]
    assert response.headers["vary"] == "Origin"


def preflight(server: CodecServer, path: str, origin: str | None, **more: str) -> httpx.Response:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-namespace"}
    return server.http.options(path, headers={**headers, **({"Origin": origin} if origin else {}), **more})


@pytest.mark.parametrize("path", ["/decode", "/encode", "/download", "/a.b/decode", "/decode?preserveStorageRefs=true"])
def test_a_preflight_is_answered_before_anybody_is_asked_who_they_are(server: CodecServer, path: str) -> None:
    for origin in (UI, "http://localhost:8233"):
        response = preflight(server, path, origin)
        assert (response.status_code, response.content) == (204, b"")
        allowed(response, origin)
        assert "POST" in response.headers["access-control-allow-methods"]
        headers = {name.strip().lower() for name in response.headers["access-control-allow-headers"].split(",")}
        assert headers == {"content-type", "x-namespace", "authorization", "authorization-extras"}
        assert int(response.headers["access-control-max-age"]) > 0
        assert "access-control-allow-private-network" not in response.headers
    response = preflight(server, path, UI, **{"Access-Control-Request-Private-Network": "true"})
    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "origin", [EVIL, "http://cloud.temporal.io", "https://cloud.temporal.io:443", "null", UI.upper()]
)
def test_pages_of_other_origins_get_nothing(server: CodecServer, issuer: Issuer, origin: str) -> None:
    response = refused(preflight(server, "/decode", origin), 403, "origin_not_allowed")
    not_allowed(response)
    response = server.post("/decode", [PLAIN], {**issuer.bearer(), "Origin": origin})
    not_allowed(refused(response, 403, "origin_not_allowed"))


def test_who_is_no_browser_needs_no_origin(server: CodecServer, issuer: Issuer) -> None:
    response = server.post("/decode", [PLAIN], issuer.bearer())
    assert returned(response) == [PLAIN]
    not_allowed(response)
    response = preflight(server, "/decode", None)
    assert (response.status_code, response.headers["allow"]) == (204, "POST, OPTIONS")
    not_allowed(response)
    assert server.http.options("/healthz").headers["allow"] == "GET, HEAD, OPTIONS"


def test_every_answer_can_be_read_by_the_page_that_asked(
    server: CodecServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = {"Origin": UI}
    known = {**issuer.bearer(), **page}
    plain = body([PLAIN])
    for status, response in [
        (200, server.post("/decode", [PLAIN], known)),
        (400, server.post("/decode", b"{", known)),
        (400, server.post("/encode", [PLAIN], known)),
        (401, server.post("/decode", [PLAIN], page)),
        (401, server.post("/decode", [PLAIN], {**page, "Authorization": "Bearer x"})),
        (404, server.post("/nothing", [PLAIN], known)),
        (404, server.post("/download", [PLAIN], known)),
        (405, server.http.get("/decode", headers=page)),
        (413, server.post("/decode", b"x" * 70_000, known)),
        (413, server.post("/decode", [PLAIN] * 21, known)),
        (415, server.http.post("/decode", content=plain, headers=known)),
        (200, server.http.get("/healthz", headers=page)),
    ]:
        assert response.status_code == status
        allowed(response)
    monkeypatch.setattr(server.service.opener, "open", lambda *_: 1 / 0)
    allowed(refused(server.post("/decode", [PLAIN], known), 500, "internal"))


def test_an_unexpected_failure_tells_nobody_what_it_was(
    server: CodecServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(PLAIN.data.decode())

    monkeypatch.setattr(server.service.opener, "open", fail)
    response = refused(server.post("/decode", [PLAIN], issuer.bearer()), 500, "internal")
    assert "Ada" not in response.text
    assert "Ada" not in caplog.text
    assert response.json()["request_id"] in caplog.text
    assert "RuntimeError" in caplog.text


def test_every_origin_may_on_loopback_if_the_settings_say_so() -> None:
    with serving(KEY, ServerConfig(origins="*")) as server:
        response = server.post("/decode", [PLAIN], {"Origin": EVIL})
        assert returned(response) == [PLAIN]
        allowed(response, EVIL)
        not_allowed(refused(server.post("/decode", [PLAIN], {"Origin": "null"}), 403, "origin_not_allowed"))


# --- limits ----------------------------------------------------------------------------------------------------------


def test_bodies_may_be_so_large_and_no_larger(server: CodecServer, issuer: Issuer) -> None:
    known = issuer.bearer()
    fits = Payload(data=b"x" * 48_000)
    assert len(body([fits])) < 65_536
    assert returned(server.post("/decode", [fits], known)) == [fits]
    refused(server.post("/decode", [Payload(data=b"x" * 50_000)], known), 413, "too_large")
    refused(server.post("/decode", [PLAIN] * 21, known), 413, "too_many_payloads")
    # Without a length as well, and also where nobody would have had to read it.
    headers = {**known, "Content-Type": "application/json"}
    chunks = (b"x" * 10_000 for _ in range(10))
    refused(server.http.post("/decode", content=chunks, headers=headers), 413, "too_large")
    chunks = (b"x" * 1_000 for _ in range(10))
    refused(server.http.post("/decode", content=chunks, headers={}), 401, "unauthenticated")


def raw(server: CodecServer, *parts: bytes) -> bytes:
    """What comes back for bytes as they are, until the server ends the connection."""
    taken = b""
    with connected(server) as connection, suppress(ConnectionError):  # it may end before it has all of a flood
        for part in parts:
            connection.sendall(part)
        while chunk := connection.recv(65_536):
            taken += chunk
    return taken


def connected(server: CodecServer) -> socket.socket:
    host, port = server.url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), SECONDS)


def head(bearer: dict[str, str], *more: str) -> bytes:
    lines = [
        "POST /decode HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Authorization: {bearer['Authorization']}",
    ]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def test_a_body_without_end_is_read_to_the_limit(server: CodecServer, issuer: Issuer) -> None:
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    answer = raw(server, head(issuer.bearer(), "Transfer-Encoding: chunked"), *[chunk] * 20)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_announced_too_large_is_not_waited_for(server: CodecServer, issuer: Issuer) -> None:
    answer = raw(server, head(issuer.bearer(), "Content-Length: 100000000", "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    for length in ("1x", "99999999999999999999999", "-1"):
        assert raw(server, head(issuer.bearer(), f"Content-Length: {length}")).startswith(b"HTTP/1.1 400 ")


def test_who_sends_slowly_is_not_waited_for(issuer: Issuer) -> None:
    settings = ServerConfig(auth=[issuer.settings], rules=EVERYONE, body_timeout=0.1, header_timeout=0.15)
    with serving(KEY, settings) as server:
        answer = raw(server, head(issuer.bearer(), "Content-Length: 10"), b"{")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"too_slow"' in answer
        assert raw(server, head({"Authorization": "x"}, "Content-Length: 10"), b"{").startswith(b"HTTP/1.1 401 ")
        for parts in ([], [b"POST /decode HT"], [b"POST /decode HTTP/1.1\r\nHost: x\r\n"]):
            assert raw(server, *parts) == b""
        # Also between two requests of one connection.
        first = head(issuer.bearer(), "Content-Length: 2") + b"{}"
        answer = raw(server, first, b"POST /de")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_the_rest_of_a_body_that_has_been_answered_is_not_waited_for(issuer: Issuer) -> None:
    settings = ServerConfig(auth=[issuer.settings], rules=EVERYONE, body_timeout=0.1, header_timeout=0.1)
    with serving(KEY, settings) as server:
        for method in (b"GET", b"PUT"):
            answer = raw(server, method + b" /decode HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x")
            assert answer.startswith(b"HTTP/1.1 405 ")


def test_many_small_chunks_hold_up_nobody(server: CodecServer, issuer: Issuer) -> None:
    small = b"1\r\n \r\n" * 2_000
    for bearer in ({"Authorization": "x"}, issuer.bearer()):
        answer = raw(server, head(bearer, "Transfer-Encoding: chunked") + small + b"0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 "), answer
    few = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"payloads":[]}')
    answer = raw(server, head(issuer.bearer(), "Transfer-Encoding: chunked", "Connection: close") + few + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_body_of_two_lengths_is_refused(server: CodecServer, issuer: Issuer) -> None:
    second = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(
        server, head(issuer.bearer(), "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + second
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_that_breaks_off_in_nonsense_is_no_failure_of_the_server(
    server: CodecServer, caplog: pytest.LogCaptureFixture
) -> None:
    for first in (b"GET /healthz", b"POST /decode"):
        raw(server, first + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    assert "Exception" not in caplog.text


def test_heads_may_be_so_large_and_no_larger(server: CodecServer, issuer: Issuer) -> None:
    groups = [f"group-{n}" for n in range(1_500)]
    assert returned(server.post("/decode", [PLAIN], issuer.bearer(groups=groups))) == [PLAIN]
    flood = [f"X-{n}: {'x' * 100}" for n in range(2_000)]
    answer = raw(server, head(issuer.bearer(), *flood))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(100),
        b"nonsense\r\n\r\n",
        b"POST /decode HTTP/9.9\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /decode HTTP/1.1\r\nHost: x\r\nX-Namespace: a\x00b\r\nConnection: close\r\n\r\n",
        b"POST /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_nonsense_takes_nothing_down(server: CodecServer, issuer: Issuer, text: bytes) -> None:
    answer = raw(server, text)
    assert answer == b"" or answer.split()[1][:1] in (b"2", b"4")
    assert returned(server.post("/decode", [PLAIN], issuer.bearer())) == [PLAIN]


def test_callers_may_ask_so_often_and_no_oftener(issuer: Issuer) -> None:
    settings = ServerConfig(auth=[issuer.settings], rules=EVERYONE, rate_limit="3/hour", origins=UI)
    with serving(KEY, settings) as server:
        ada, bob = issuer.bearer(), issuer.bearer(sub="bob")
        for _ in range(3):
            assert returned(server.post("/decode", [PLAIN], ada)) == [PLAIN]
        response = refused(server.post("/decode", [PLAIN], {**ada, "Origin": UI}), 429, "too_many_requests")
        assert 1 <= int(response.headers["retry-after"]) <= 7_200
        allowed(response)
        refused(server.post("/a/encode", [PLAIN], ada), 429, "too_many_requests")
        assert returned(server.post("/decode", [PLAIN], bob)) == [PLAIN]
    with serving(KEY, ServerConfig(rate_limit="1/hour")) as server:  # who has no name is counted by address
        assert returned(server.post("/decode", [PLAIN])) == [PLAIN]
        refused(server.post("/decode", [PLAIN], {"X-Forwarded-For": "192.0.2.1"}), 429, "too_many_requests")


def test_proxies_are_believed_if_the_settings_name_them(tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    audit = str(tmp_path / "audit")
    with serving(KEY, ServerConfig(rate_limit="1/hour", trusted_proxies="127.0.0.1", audit_file=audit)) as server:
        assert returned(server.post("/decode", [PLAIN], forwarded)) == [PLAIN]
        assert returned(server.post("/decode", [PLAIN])) == [PLAIN]
        refused(server.post("/decode", [PLAIN], forwarded), 429, "too_many_requests")
        assert [line["client"] for line in server.lines()] == ["192.0.2.1", "127.0.0.1", "192.0.2.1"]


class SlowKms(FakeKms):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.asked = 0
        self.most = 0
        self.before_call = self._wait

    def _wait(self, operation: str) -> None:
        if operation == "unwrap" and threading.current_thread().name.startswith("envelope-codec-kms"):
            self.asked += 1
            self.most = max(self.most, self.asked)
            assert self.go.wait(SECONDS)
            self.asked -= 1


async def test_so_many_requests_are_served_at_once_and_others_are_told_to_wait() -> None:
    key = SlowKms()
    [envelope] = await sealed(EnvelopeConfig(key=key, verify_wraps=False), "default")
    with serving(key, ServerConfig(max_requests=2)) as server, ThreadPoolExecutor(2) as pool:
        first = [pool.submit(server.post, "/decode", [envelope]) for _ in range(2)]
        until(lambda: requests_under_way(server.service) == 2)
        response = refused(server.post("/decode", [PLAIN]), 503, "busy")
        assert response.headers["retry-after"] == "1"
        key.go.set()
        assert [returned(answer.result()) for answer in first] == [[PLAIN]] * 2
        until(lambda: requests_under_way(server.service) == 0)
        assert returned(server.post("/decode", [PLAIN])) == [PLAIN]


async def test_so_many_payloads_wait_for_the_kms_at_once() -> None:
    key = SlowKms()
    config = EnvelopeConfig(key=key, wrapping="direct", verify_wraps=False)  # a call for each payload
    envelopes = await sealed(config, "default", *[PLAIN] * 12)
    with serving(config, ServerConfig(max_concurrent_kms=3)) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, "/decode", envelopes)
        until(lambda: key.asked == 3)
        key.go.set()
        assert returned(answer.result()) == [PLAIN] * 12
        assert key.most == 3


# --- outages ---------------------------------------------------------------------------------------------------------


async def test_an_outage_is_told_as_one(tmp_path: Path) -> None:
    key, other = FakeKms(), FakeKms()
    config = EnvelopeConfig(key=key, decrypt_keys=[other], timeout=0.3)
    [cold], [warm] = await sealed(key, "default"), await sealed(other, "default")
    with serving(config, ServerConfig(request_timeout=1, audit_file=str(tmp_path / "a"))) as server:
        assert returned(server.post("/decode", [warm])) == [PLAIN]
        key.down = other.down = True
        response = refused(server.post("/decode", [cold]), 503, "kms_unavailable")
        assert response.headers["retry-after"] == "5"
        assert key.key_id not in response.text
        refused(server.post("/shop/encode", [PLAIN]), 503, "kms_unavailable")
        # What is at hand is still opened, and what is not is as it was.
        response = server.post("/decode", [cold, warm])
        assert returned(response) == [cold, PLAIN]
        assert server.lines()[-1]["failed"] == {"KmsUnavailable": 1}
        key.down = other.down = False
        assert returned(server.post("/decode", [cold])) == [PLAIN]
    with serving(config, ServerConfig(request_timeout=1, strict=True)) as server:
        key.down = True
        refused(server.post("/decode", [cold, warm]), 503, "kms_unavailable")


async def test_a_request_waits_for_the_kms_so_long_and_no_longer() -> None:
    key = SlowKms()
    [envelope] = await sealed(EnvelopeConfig(key=key, verify_wraps=False), "default")
    with serving(key, ServerConfig(request_timeout=0.2)) as server:
        refused(server.post("/decode", [envelope]), 503, "kms_unavailable")
        response = server.post("/decode", [envelope, PLAIN])
        assert (returned(response), response.headers["x-envelope-failed"]) == ([envelope, PLAIN], "1")
        key.go.set()
        assert returned(server.post("/decode", [envelope])) == [PLAIN]


async def test_the_worst_of_several_failures_is_the_answer() -> None:
    key, denied = FakeKms(), FakeKms()
    denied.denied = True
    config = EnvelopeConfig(key=key, decrypt_keys=[denied], timeout=0.2)
    denied.denied = False
    [refusing] = await sealed(denied, "mine")
    denied.denied = True
    [mine], [foreign] = await sealed(key, "mine"), await sealed(key, "theirs")
    broken = Payload(metadata=mine.metadata, data=mine.data[:-1] + b"\0\0")
    rules = [{"namespaces": "mine"}]
    with serving(config, ServerConfig(rules=rules, request_timeout=1)) as server:
        refused(server.post("/decode", [broken]), 400, "invalid_ciphertext")
        refused(server.post("/decode", [refusing]), 400, "key_denied")
        refused(server.post("/decode", [broken, foreign, refusing]), 403, "not_allowed")
        key.down = True
        [cold] = [Payload(metadata=mine.metadata, data=mine.data)]
        assert returned(server.post("/decode", [cold])) == [PLAIN]
    with serving(config, ServerConfig(rules=rules, request_timeout=1)) as server:
        refused(server.post("/decode", [broken, foreign, mine]), 503, "kms_unavailable")


def test_nothing_is_answered_that_can_t_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerConfig(audit_file=str(tmp_path / "audit"), origins="http://localhost:8233")
    with serving(KEY, settings) as server:

        def full(line: dict[str, Any]) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(server.service.audit, "write", full)
        response = refused(server.post("/decode", [PLAIN]), 503, "audit_unavailable")
        assert "Ada" not in response.text
        page = {"Origin": "http://localhost:8233"}
        assert refused(server.post("/decode", [PLAIN], page), 424, "audit_unavailable").headers["retry-after"] == "5"
        monkeypatch.undo()
        assert returned(server.post("/decode", [PLAIN])) == [PLAIN]
        told = server.service.metrics.render().decode()  # what an alert watches is what was sent
        for status in (503, 424, 200):
            error = "audit_unavailable" if status != 200 else ""
            labels = f'error_type="{error}",http_request_method="POST",http_response_status_code="{status}"'
            assert f'http_server_request_duration_seconds_count{{{labels},http_route="/decode"}} 1.0' in told


def test_the_audit_trail_follows_its_file_when_it_is_moved_away(tmp_path: Path) -> None:
    file, moved = tmp_path / "audit", tmp_path / "audit.1"
    with serving(KEY, ServerConfig(audit_file=str(file))) as server:
        server.post("/decode", [PLAIN])
        file.rename(moved)
        server.post("/decode", [PLAIN])
        server.service.reopen()
        server.post("/decode", [PLAIN])
        assert (len(moved.read_text().splitlines()), len(server.lines())) == (2, 1)
        assert file.stat().st_mode & 0o777 == 0o640


def test_the_audit_trail_goes_to_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with serving(KEY) as server:
        server.post("/decode", [PLAIN])
        line = json.loads(capfdbinary.readouterr().out)
    assert (line["verb"], line["passed"]) == ("decode", 1)


def test_a_client_that_goes_away_leaves_a_line_and_nothing_else(tmp_path: Path) -> None:
    with serving(KEY, ServerConfig(audit_file=str(tmp_path / "audit"))) as server:
        with connected(server) as connection:
            connection.sendall(b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            connection.sendall(b"Content-Length: 9\r\n\r\n{")
            until(lambda: requests_under_way(server.service) == 1)
        until(lambda: server.lines())
        assert (server.lines()[0]["status"], server.lines()[0]["error"]) == (499, "gone")
        until(lambda: requests_under_way(server.service) == 0)


def test_a_refusal_by_the_kms_says_nothing_of_it() -> None:
    key = FakeKms()
    key.before_call = lambda operation: (_ for _ in ()).throw(KeyDenied("the KMS's own words", key_id=key.key_id))
    with serving(key) as server:
        response = refused(server.post("/shop/encode", [PLAIN]), 400, "key_denied")
        assert key.key_id not in response.text
        assert "own words" not in response.text
