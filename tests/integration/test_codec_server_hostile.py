"""Clients that mean ill: none gets in, none takes the server down. After each, a good request is answered."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec.server import ServerConfig
from envelope_codec.testing import FakeKms
from tests.support.codec_server import PLAIN, SECONDS, CodecServer, body, requests_under_way, returned, sealed, serving
from tests.support.token_issuer import AUDIENCE, Issuer, Key, issuing

KEY = FakeKms()
SECRET = b"Ada"
RULES = [{"claims": {"groups": "a"}, "namespaces": "a", "verbs": ["decode", "encode", "download"]}]
PATIENCE = 0.5
"""Seconds that the server waits for heads and for bodies."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        running.keys = [Key("rsa", "RS256"), Key("first")]
        yield running


@pytest.fixture(scope="module")
def running(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodecServer]:
    settings = ServerConfig(
        auth=[issuer.settings],
        rules=RULES,
        body_limit="256KiB",
        max_payloads=50,
        body_timeout=PATIENCE,
        header_timeout=PATIENCE,
        rate_limit="off",
        audit_file=str(tmp_path_factory.mktemp("audit") / "audit"),
    )
    with serving(KEY, settings) as server:
        yield server


@pytest.fixture(scope="module")
def mine() -> Payload:
    """An envelope of the namespace that the good caller may read."""
    return asyncio.run(sealed(KEY, "a"))[0]


@pytest.fixture(scope="module")
def theirs() -> Payload:
    """And one of another."""
    return asyncio.run(sealed(KEY, "b"))[0]


@pytest.fixture
def good(issuer: Issuer) -> dict[str, str]:
    return issuer.bearer(groups=["a"])


@pytest.fixture
def server(running: CodecServer, good: dict[str, str], mine: Payload) -> Iterator[CodecServer]:
    """The server, which serves before and after each test, and keeps no connection or request of the ill client."""
    threads = threading.active_count()
    yield running
    assert returned(running.post("/decode", [mine], good)) == [PLAIN]
    assert requests_under_way(running.service) == 0
    assert threading.active_count() <= threads + 40  # those of pools, which are bounded


def head(*lines: str, path: str = "/decode") -> bytes:
    first = [f"POST {path} HTTP/1.1", "Host: codec", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


def connected(server: CodecServer) -> socket.socket:
    host, port = server.url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), SECONDS)


def raw(server: CodecServer, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back until the server ends the connection. `TimeoutError` if it never does."""
    taken = b""
    with connected(server) as connection, suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
            if pause:
                connection.settimeout(pause)
                with suppress(TimeoutError):
                    taken += connection.recv(65_536)
        connection.settimeout(SECONDS)
        while chunk := connection.recv(65_536):
            taken += chunk
    return taken


def bearer(headers: dict[str, str]) -> str:
    return f"Authorization: {headers['Authorization']}"


def status(answer: bytes) -> int:
    """Of an answer, or 0 where the connection just ended."""
    assert SECRET not in answer
    return int(answer.split(b" ", 2)[1]) if answer else 0


# --- slow ------------------------------------------------------------------------------------------------------------


def test_heads_that_come_a_byte_at_a_time_are_not_waited_for(server: CodecServer, good: dict[str, str]) -> None:
    text = head(bearer(good))
    answer = raw(server, *(text[n : n + 1] for n in range(len(text))), pause=0.05)
    assert status(answer) in (0, 408)


def test_bodies_that_come_a_byte_at_a_time_are_not_waited_for(
    server: CodecServer, good: dict[str, str], mine: Payload
) -> None:
    text = body([mine])
    assert (
        status(raw(server, head(bearer(good), f"Content-Length: {len(text)}"), *(b"{" for _ in range(80)), pause=0.05))
        == 408
    )
    chunked = head(bearer(good), "Transfer-Encoding: chunked")
    assert status(raw(server, chunked, *(b"1\r\n{\r\n" for _ in range(80)), pause=0.05)) == 408


def test_a_crowd_of_idle_clients_keeps_nobody_out(server: CodecServer, good: dict[str, str], mine: Payload) -> None:
    """More of them than requests may be served at once."""
    begun = [b"", b"POST", head(bearer(good), "Content-Length: 100") + b"{", b"GET / HTTP/1.1\r\n"]
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(server)) for _ in range(300)]
        for number, client in enumerate(crowd):
            client.sendall(begun[number % 2])  # those that send a head are counted as requests, and told to wait
        assert returned(server.post("/decode", [mine], good)) == [PLAIN]
        for client in crowd:
            with suppress(ConnectionError):
                while client.recv(65_536):
                    pass


# --- large -----------------------------------------------------------------------------------------------------------


def announced(length: int | str) -> str:
    return f"Content-Length: {length}"


def chunked(data: bytes, size: int = 8_192) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_a_body_may_not_be_too_large_however_it_is_sent(server: CodecServer, good: dict[str, str]) -> None:
    large = b'{"payloads":[{"data":"' + b"A" * 400_000 + b'"}]}'
    headers = {**good, "Content-Type": "application/json"}
    assert server.post("/decode", large, headers).status_code == 413
    assert server.http.post("/decode", content=chunked(large), headers=headers).status_code == 413
    assert status(raw(server, head(bearer(good), announced(2**40)), b"{" * 10)) == 413
    assert (
        status(raw(server, head(bearer(good), "Transfer-Encoding: chunked"), b"FFFFFFFF\r\n" + b"A" * 400_000)) == 413
    )


def test_a_length_that_lies_gains_nothing(server: CodecServer, good: dict[str, str], mine: Payload) -> None:
    text = body([mine])
    assert status(raw(server, head(bearer(good), announced(len(text) + 10)), text)) == 408
    short = raw(server, head(bearer(good), announced(5), "Connection: close"), text)
    assert status(short) == 400
    for length in ("-1", "0x10", "1e3", "٣", "1, 2", "", "+5", "9" * 30):
        assert status(raw(server, head(bearer(good), announced(length), "Connection: close"), text)) in (0, 400)


def test_a_request_hidden_behind_another_is_not_served(
    server: CodecServer, good: dict[str, str], mine: Payload
) -> None:
    before = len(server.lines())
    text = body([mine])
    hidden = head(bearer(good), announced(len(text)), "Connection: close") + text
    both = head("Transfer-Encoding: chunked", announced(len(hidden) + 5)) + b"0\r\n\r\n" + hidden
    answer = raw(server, both)
    assert answer.count(b"HTTP/1.1 200") == 0 or answer.count(b"HTTP/1.1 ") == 2
    for line in ("Transfer-Encoding: chunked, identity", "Transfer-Encoding: xchunked", "Transfer-Encoding : chunked"):
        assert status(raw(server, head(line, announced(5), "Connection: close") + b"0\r\n\r\n")) in (0, 400, 401, 501)
    assert len(server.lines()) - before <= 6


def test_floods_of_headers_are_cut_off(server: CodecServer, good: dict[str, str]) -> None:
    for lines in (
        [f"X-{n}: {n}" for n in range(50_000)],
        ["X-Long: " + "x" * 500_000],
        ["X" * 300_000 + ": x"],
        [*[bearer(good)] * 2_000],
    ):
        assert status(raw(server, head(*lines, "Connection: close"))) in (0, 400, 431)
    assert status(raw(server, b"POST /" + b"x" * 500_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")) in (0, 400, 414)


def test_huge_counts_are_refused_before_anything_is_built(server: CodecServer, good: dict[str, str]) -> None:
    for text in (
        b'{"payloads":[' + b",".join([b"{}"] * 51) + b"]}",
        b'{"payloads":[' + b",".join([b"{}"] * 60_000) + b"]}",
        b'{"payloads":[' + b",".join([b"1"] * 100_000) + b"]}",
        b'{"payloads":[{"metadata":{' + b",".join(b'"%d":""' % n for n in range(20_000)) + b"}}]}",
        b'{"payloads":[{"externalPayloads":[' + b",".join([b"{}"] * 50_000) + b"]}]}",
        b"[" + b",".join([b'""'] * 60_000) + b"]",
        b'{"payloads":' + b"9" * 200_000 + b"}",
    ):
        answer = server.post("/decode", text, good)
        assert answer.status_code in (400, 413), text[:40]
        assert set(answer.json()) == {"error", "message", "request_id"}


# --- wrong -----------------------------------------------------------------------------------------------------------

ENCODED = base64.b64encode(b"json/plain").decode()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 50_000 + "]" * 50_000,
        '{"payloads":' * 20_000 + "1" + "}" * 20_000,
        '{"payloads":[{"data":' + '{"a":' * 900 + "1" + "}" * 900 + "}]}",
        '{"payloads":[{"data":"A"}]}',
        '{"payloads":[{"data":"AAA*"}]}',
        '{"payloads":[{"data":"AA=A"}]}',
        '{"payloads":[{"data":"AAAA\\nAAAA"}]}',
        '{"payloads":[{"data":7}]}',
        '{"payloads":[{"data":["AAAA"]}]}',
        '{"payloads":[{"metadata":{"encoding":"not base64"}}]}',
        f'{{"payloads":[{{"metadata":{{"encoding":"{ENCODED}","encoding":"AAAA"}}}}]}}',
        '{"payloads":[],"payloads":[{}]}',
        '{"payloads":[{"data":"AAAA","data":"BBBB"}]}',
        '{"payloads":[{"unknown":1}]}',
        '{"__proto__":{},"payloads":[]}',
        '{"payloads":NaN}',
        '{"payloads":[1e999999]}',
        '{"payloads":[null]}',
        '{"payloads":{}}',
        '{"payloads":[{}]}{"payloads":[]}',
        "",
        "null",
        '"payloads"',
        '\ufeff{"payloads":[]}',
        '{"payloads":[{"metadata":{"\\ud800":"AAAA"}}]}',
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_payloads_is_refused(server: CodecServer, good: dict[str, str], text: str) -> None:
    for path in ("/decode", "/a/encode", "/a/download"):
        answer = server.post(path, text.encode(), good)
        assert answer.status_code in (400, 404), answer.text
        assert "Traceback" not in answer.text
        assert text[:200] not in answer.text or not text


def test_bytes_that_are_no_text_are_refused(server: CodecServer, good: dict[str, str]) -> None:
    for data in (b"\xff\xfe{\x00}\x00", b'{"payloads":[{"data":"\xc3\x28"}]}', bytes(1_000), b"\x1f\x8b" + bytes(50)):
        assert server.post("/decode", data, good).status_code == 400
        gzip = {**good, "Content-Encoding": "gzip"}
        assert server.post("/decode", data, gzip).status_code in (400, 415)


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/decode/../../etc/passwd",
        "/a/../b/nothing",
        "/decode%00",
        "/decode/.",
        "/decode;x=y",
        "/DECODE",
        "\\..\\decode\\x",
        "/%ff%fe/x",
    ],
)
def test_paths_lead_nowhere_else(server: CodecServer, good: dict[str, str], path: str) -> None:
    text = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{bearer(good)}\r\n"
    answer = raw(server, (text + "Content-Length: 2\r\nConnection: close\r\n\r\n{}").encode())
    assert status(answer) in (0, 400, 404)
    assert b"root:" not in answer
    got = raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert status(got) in (0, 400, 404, 405)


@pytest.mark.parametrize("path", ["/a/decode", "/a%2f..%2fb/decode", "/b/../a/decode", "/x/b/decode", "/%61/decode"])
def test_no_path_opens_what_another_namespace_sealed(
    server: CodecServer, good: dict[str, str], theirs: Payload, path: str
) -> None:
    for headers in (good, {**good, "X-Namespace": "a"}, {**good, "X-Namespace": "b"}):
        answer = raw(
            server,
            head(
                *(f"{name}: {value}" for name, value in headers.items()),
                announced(len(body([theirs]))),
                "Connection: close",
                path=path,
            )
            + body([theirs]),
        )
        assert status(answer) == 403


def test_two_headers_of_one_name_gain_nothing(
    server: CodecServer, good: dict[str, str], theirs: Payload, issuer: Issuer
) -> None:
    text = body([theirs])
    end = (announced(len(text)), "Connection: close")
    assert status(raw(server, head(bearer(good), "X-Namespace: a", "X-Namespace: b", *end) + text)) in (400, 403)
    both = (bearer(issuer.bearer(groups=["b"])), bearer(good))
    for order in (both, both[::-1]):
        assert status(raw(server, head(*order, *end) + text)) in (400, 401, 403)


# --- tokens ----------------------------------------------------------------------------------------------------------


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def joined(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> str:
    return ".".join(map(part, [json.dumps(header).encode(), json.dumps(claims).encode(), signature]))


def by_secret(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    unsigned = joined(header, claims, b"").rstrip(".")
    mac = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{part(mac)}"


def bad_tokens(issuer: Issuer) -> dict[str, str]:
    """Each would be believed but for one thing."""
    now, claims, rsa = int(time.time()), issuer.claims(groups=["a"]), issuer.keys[0]
    good = issuer.token(rsa, groups=["a"])
    first, middle, last = good.split(".")
    stranger = Key("stranger", "RS256")
    found = {
        "expired": issuer.token(groups=["a"], exp=now - 3_600),
        "not yet valid": issuer.token(groups=["a"], nbf=now + 3_600),
        "made tomorrow": issuer.token(groups=["a"], iat=now + 86_400),
        "another audience": issuer.token(groups=["a"], aud="another"),
        "no audience": issuer.token(groups=["a"], aud=None),
        "an audience that only begins so": issuer.token(groups=["a"], aud=AUDIENCE + "x"),
        "another issuer": issuer.token(groups=["a"], iss="https://evil.example.com/"),
        "no end": issuer.token(groups=["a"], exp=None),
        "no kid": issuer.token(groups=["a"], headers={"kid": None}),
        "unknown kid": issuer.token(groups=["a"], headers={"kid": "x"}),
        "kid of another key": issuer.token(groups=["a"], headers={"kid": "rsa"}),
        "kid is a path": issuer.token(groups=["a"], headers={"kid": "../../dev/null"}),
        "key of a stranger": issuer.token(stranger, {"kid": "rsa"}, groups=["a"]),
        "key in the token": issuer.token(stranger, {"kid": "rsa", "jwk": stranger.jwk}, groups=["a"]),
        "address of keys in the token": issuer.token(stranger, {"jku": "http://127.0.0.1:1/"}, groups=["a"]),
        "signature taken away": f"{first}.{middle}.",
        "signature changed": f"{first}.{middle}.{'A' * len(last)}",
        "claims changed": f"{first}.{part(json.dumps({**claims, 'x': 1}).encode())}.{last}",
        "unknown critical header": issuer.token(rsa, {"crit": ["x"], "x": 1}, groups=["a"]),
        "b64 false": issuer.token(rsa, {"crit": ["b64"], "b64": False}, groups=["a"]),
        "dots": "..",
        "long": "a" * 20_000,
        "empty secret": by_secret({"alg": "HS256", "kid": "rsa"}, claims, b""),
    }
    for none in ("none", "None", "NONE", "nOnE", ""):
        found[f"alg {none!r}"] = joined({"alg": none, "kid": "rsa"}, claims, b"")
        found[f"alg {none!r}, signed"] = joined({"alg": none, "kid": "rsa"}, claims, b"x" * 256)
    public = rsa.public_pem
    for name, secret in {
        "PEM": public,
        "PEM without its end": public.rstrip(),
        "JWK": json.dumps(rsa.jwk).encode(),
        "modulus": base64.urlsafe_b64decode(rsa.jwk["n"] + "=="),
    }.items():
        for algorithm in ("HS256", "hs256"):
            found[f"{algorithm} by the public key, {name}"] = by_secret(
                {"alg": algorithm, "kid": "rsa"}, claims, secret
            )
    return found


def believed(server: CodecServer, tokens: Sequence[tuple[str, str]], payload: Payload) -> list[str]:
    """Names of those with which anything but 401 comes back."""
    found = []
    for name, token in tokens:
        answer = server.post("/decode", [payload], {"Authorization": f"Bearer {token}"})
        assert SECRET not in answer.content
        if answer.status_code != 401:
            found.append(f"{name}: {answer.status_code}")
    return found


def test_no_token_but_a_good_one_is_believed(server: CodecServer, issuer: Issuer, mine: Payload) -> None:
    before = len(server.lines())
    tokens = bad_tokens(issuer)
    assert believed(server, list(tokens.items()), mine) == []
    assert {(line["subject"], line["status"]) for line in server.lines()[before:]} == {("", 401)}
    assert len(server.lines()) - before == len(tokens)
    assert issuer.fetches < 10  # nobody lets it ask the issuer for each
    # What they were made of is good: it is the one thing that was wrong.
    for key in issuer.keys:
        headers = {"Authorization": f"Bearer {issuer.token(key, groups=['a'])}"}
        assert returned(server.post("/decode", [mine], headers)) == [PLAIN]


@pytest.mark.parametrize("key", ["PEM", "JWKS"])
def test_nor_where_the_key_lies_in_a_file(issuer: Issuer, mine: Payload, tmp_path: Path, key: str) -> None:
    rsa = issuer.keys[0]
    file = tmp_path / "key"
    file.write_bytes(rsa.public_pem if key == "PEM" else json.dumps({"keys": [rsa.jwk]}).encode())
    auth = {"issuer": issuer.name, "audience": AUDIENCE, "key_file": str(file)}
    tokens = bad_tokens(issuer)
    if key == "PEM":  # has no kid, and so none is asked for
        tokens = {name: token for name, token in tokens.items() if "kid" not in name}
    with serving(KEY, ServerConfig(auth=[auth], rules=RULES)) as server:
        assert believed(server, list(tokens.items()), mine) == []
        good = {"Authorization": f"Bearer {issuer.token(rsa, groups=['a'])}"}
        assert returned(server.post("/decode", [mine], good)) == [PLAIN]


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Basic YTpi", "Token {}", "{}", "Bearer {}, Bearer {}", "Bearer {} {}", "Bearer\t{}x"],
)
def test_nothing_but_a_bearer_token_is_taken(server: CodecServer, issuer: Issuer, mine: Payload, value: str) -> None:
    token = issuer.token(groups=["a"])
    answer = server.post("/decode", [mine], {"Authorization": value.replace("{}", token)})
    assert answer.status_code == 401


def test_a_token_elsewhere_than_in_its_header_is_none(server: CodecServer, issuer: Issuer, mine: Payload) -> None:
    token = issuer.token(groups=["a"])
    assert server.post(f"/decode?access_token={token}", [mine]).status_code == 401
    assert server.post("/decode", [mine], {"Cookie": f"Authorization=Bearer {token}"}).status_code == 401
    assert server.post("/decode", [mine], {"Authorization-Extras": token}).status_code == 401
    decoded = jwt.decode(token, options={"verify_signature": False})
    assert decoded["groups"] == ["a"]
