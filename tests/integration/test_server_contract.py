"""The contract of the codec server, over HTTP: paths, bodies, and what comes back for each payload."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec import EnvelopeCodec, EnvelopeConfig, NamespaceKeys
from envelope_codec.envelope import parse
from envelope_codec.server import ServerConfig
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.testing import FakeKms
from tests.support.codec_server import PLAIN, CodecServer, body, refused, returned, sealed, serving
from tests.support.proxied import NAME, seal_as_proxy

KEY = FakeKms()
OTHER = FakeKms()
CONFIG = EnvelopeConfig(key=KEY, namespaces={"billing": NamespaceKeys(key=OTHER)}, require_encryption=True, timeout=5)
TEXTS = [Payload(metadata={"encoding": b"json/plain"}, data=b'"%d"' % n) for n in range(5)]
BROKEN = Payload(metadata={"encoding": b"binary/envelope-v1"}, data=b"x" * 80)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodecServer]:
    audit = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    with serving(CONFIG, ServerConfig(audit_file=str(audit), rate_limit="off", body_limit="1MiB")) as running:
        yield running


async def test_what_a_worker_sealed_is_decoded(server: CodecServer) -> None:
    envelopes = await sealed(CONFIG, "default", *TEXTS)
    response = server.post("/decode?preserveStorageRefs=true", envelopes, {"X-Namespace": "default"})
    assert returned(response) == TEXTS
    assert "x-envelope-failed" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    line = server.lines()[-1]
    assert (line["verb"], line["namespace"], line["namespaces"]) == ("decode", "default", ["default"])
    assert (line["payloads"], line["opened"], line["failed"], line["denied"]) == (5, 5, {}, 0)
    assert (line["key_ids"], line["status"], line["request_id"]) == (
        [KEY.key_id],
        200,
        response.headers["x-request-id"],
    )


@pytest.mark.parametrize(
    ("path", "header", "bound"),
    [
        ("/encode", "shop", "shop"),
        ("//encode", "shop", "shop"),
        ("/encode/", "shop", "shop"),
        ("/billing/encode", None, "billing"),
        ("//billing//encode", None, "billing"),
        ("/billing/encode", "shop", "billing"),  # the path wins
        ("/a.b-c_d.x1/encode", "shop", "a.b-c_d.x1"),
        ("/a%2Fb%20c/encode", None, "a/b c"),
        ("/gr%C3%BC%C3%9Fe/encode", None, "grüße"),
        ("/some/route/billing/encode", "shop", "billing"),
        ("/decode/encode", None, "decode"),
        ("/encode?preserveStorageRefs=true", "grüße", "grüße"),
    ],
)
def test_what_is_encoded_is_sealed_for_the_namespace_that_was_named(
    server: CodecServer, path: str, header: str | None, bound: str
) -> None:
    headers: Any = {b"X-Namespace": header.encode()} if header else {}
    response = server.http.post(
        server.url + path, content=body([PLAIN]), headers={b"Content-Type": b"application/json", **headers}
    )
    [envelope] = returned(response)
    found = parse(envelope.metadata, envelope.data)
    assert found is not None
    assert found.record.namespace == bound
    assert found.record.recipients[0].key_id == (OTHER if bound == "billing" else KEY).key_id
    assert returned(server.post("/decode", [envelope])) == [PLAIN]
    line = server.lines()[-2]
    assert (line["verb"], line["namespace"], line["sealed"], line["opened"]) == ("encode", bound, 1, 0)


def test_encoding_needs_a_namespace(server: CodecServer) -> None:
    refused(server.post("/encode", [PLAIN]), 400, "no_namespace")
    refused(server.post("/encode", [PLAIN], {"X-Namespace": ""}), 400, "no_namespace")
    refused(server.post("/encode", [PLAIN], {"X-Namespace": "n" * 5_000}), 400, "bad_namespace")
    refused(server.post("/%FF/encode", [PLAIN]), 400, "bad_namespace")
    refused(server.post("/a%0Ab/encode", [PLAIN]), 400, "bad_namespace")
    twice = [("X-Namespace", "a"), ("X-Namespace", "b"), ("Content-Type", "application/json")]
    refused(server.http.post("/encode", content=body([PLAIN]), headers=twice), 400, "bad_namespace")
    with serving(KEY, ServerConfig(default_namespace="mine")) as other:
        [envelope] = returned(other.post("/encode", [PLAIN]))
        found = parse(envelope.metadata, envelope.data)
        assert found is not None
        assert found.record.namespace == "mine"
    rules = [{"namespaces": "theirs", "verbs": "encode"}]
    with serving(KEY, ServerConfig(default_namespace="mine", rules=rules)) as other:
        refused(other.post("/encode", [PLAIN]), 403, "not_allowed")
        assert is_envelope(returned(other.post("/theirs/encode", [PLAIN]))[0])


def test_a_namespace_without_a_key_seals_nothing() -> None:
    with serving(EnvelopeConfig(namespaces={"billing": NamespaceKeys(key=OTHER)})) as server:
        response = server.post("/shop/encode", [PLAIN])
        refused(response, 400, "key_not_configured")
        assert PLAIN.data.decode() not in response.text
        assert is_envelope(returned(server.post("/billing/encode", [PLAIN]))[0])


def test_no_payloads_come_back_as_none(server: CodecServer) -> None:
    for path in ("/shop/encode", "/decode"):
        assert server.post(path, b'{"payloads": []}').json() == {"payloads": []}
        assert server.post(path, b"{}").json() == {"payloads": []}


async def test_what_is_not_ours_passes_untouched(server: CodecServer) -> None:
    others = [
        PLAIN,
        Payload(),
        Payload(metadata={"encoding": b"binary/null"}),
        Payload(metadata={"encoding": b"binary/encrypted", "encryption-cipher": b"x"}, data=bytes(range(256))),
    ]
    mixed = [*others, *await sealed(CONFIG, "default")]
    response = server.post("/decode", mixed)
    assert returned(response) == [*others, PLAIN]
    assert (server.lines()[-1]["passed"], server.lines()[-1]["opened"]) == (4, 1)


async def test_one_layer_is_opened_and_no_more(server: CodecServer) -> None:
    once = await sealed(CONFIG, "default")
    twice = await sealed(CONFIG, "default", *once)
    assert returned(server.post("/decode", twice)) == once


async def test_one_bad_payload_comes_back_as_it_was_and_is_counted(server: CodecServer) -> None:
    [good] = await sealed(CONFIG, "default")
    [changed] = await sealed(CONFIG, "default")
    changed.data = changed.data[:-1] + bytes([changed.data[-1] ^ 1])
    [foreign] = await sealed(FakeKms(), "default")
    batch = [good, BROKEN, changed, foreign, good]
    response = server.post("/decode", batch)
    assert returned(response) == [PLAIN, BROKEN, changed, foreign, PLAIN]
    assert response.headers["x-envelope-failed"] == "3"
    line = server.lines()[-1]
    assert line["failed"] == {"MalformedEnvelope": 1, "InvalidCiphertext": 1, "KeyNotConfigured": 1}
    assert (line["opened"], line["payloads"], line["status"], line["error"]) == (2, 5, 200, "")


async def test_a_request_in_which_nothing_can_be_opened_is_refused(server: CodecServer) -> None:
    [foreign] = await sealed(FakeKms(), "default")
    refused(server.post("/decode", [BROKEN]), 400, "malformed_envelope")
    response = refused(server.post("/decode", [foreign]), 400, "key_not_configured")
    assert "fakekms" not in response.text
    line = server.lines()[-1]
    assert (line["failed"], line["status"], line["error"]) == ({"KeyNotConfigured": 1}, 400, "key_not_configured")
    assert line["key_ids"] == []


async def test_a_strict_server_refuses_a_request_for_one_bad_payload() -> None:
    [good] = await sealed(CONFIG, "default")
    with serving(CONFIG, ServerConfig(strict=True)) as server:
        refused(server.post("/decode", [good, BROKEN]), 400, "malformed_envelope")
        assert returned(server.post("/decode", [good, PLAIN])) == [PLAIN, PLAIN]


class Reversed(PayloadCodec, WithSerializationContext):
    """A codec from before, that is told the namespace."""

    seen: list[str]

    def __init__(self, namespace: str = "") -> None:
        self._namespace = namespace

    def with_context(self, context: SerializationContext) -> Reversed:
        assert isinstance(context, WorkflowSerializationContext)
        return Reversed(context.namespace)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise AssertionError("it seals nothing any more")

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        mine = f"reversed-{self._namespace}".encode()
        return [
            Payload(metadata={"encoding": b"json/plain"}, data=p.data[::-1])
            if p.metadata.get("encoding") == mine
            else p
            for p in payloads
        ]


def test_legacy_codecs_open_under_the_namespace_of_the_request() -> None:
    old = Payload(metadata={"encoding": b"reversed-shop"}, data=b'"adA"')
    config = EnvelopeConfig(key=FakeKms(), legacy_codecs=[Reversed()], require_encryption=True)
    rules = [{"namespaces": ["shop", "other"]}]
    with serving(config, ServerConfig(rules=rules)) as server:
        assert returned(server.post("/decode", [old, PLAIN], {"X-Namespace": "shop"})) == [PLAIN, PLAIN]
        assert returned(server.post("/decode", [old], {"X-Namespace": "other"})) == [old]
        assert returned(server.post("/decode", [old])) == [old]
    with serving(config, ServerConfig(rules=rules, default_namespace="shop")) as server:
        assert returned(server.post("/decode", [old])) == [PLAIN]
    with serving(config, ServerConfig(rules=[{"namespaces": "other"}], default_namespace="shop")) as server:
        assert returned(server.post("/decode", [old])) == [old]  # who may not read there gets nothing opened


def test_what_temporals_proxy_sealed_opens_under_the_namespace_of_the_request(tmp_path: Path) -> None:
    proxy = FakeKms()
    namespaces: Any = {"shop": {"key": FakeKms(), "temporal_proxy_keys": {NAME: [proxy]}}}
    config = EnvelopeConfig(key=FakeKms(), namespaces=namespaces, require_encryption=True)
    rules = [{"namespaces": ["shop", "other"]}]
    old, unknown = seal_as_proxy(proxy, PLAIN), seal_as_proxy(proxy, PLAIN, name="proxykms://unknown")
    shop = {"X-Namespace": "shop"}
    with serving(config, ServerConfig(rules=rules, audit_file=str(tmp_path / "audit"))) as server:
        assert returned(server.post("/decode", [old, PLAIN, old, unknown], shop)) == [PLAIN, PLAIN, PLAIN, unknown]
        assert proxy.unwraps == 1
        assert returned(server.post("/decode", [old], {"X-Namespace": "other"})) == [old]
        assert returned(server.post("/decode", [old])) == [old]
        assert proxy.unwraps == 1
        broken = Payload.FromString(old.SerializeToString())
        broken.data = broken.data[:-1]
        refused(server.post("/decode", [broken], shop), 400, "invalid_ciphertext")
        broken.metadata["encryption-dek"] = b"AAAA"
        refused(server.post("/decode", [broken], shop), 400, "invalid_ciphertext")
        broken.metadata["encryption-dek"] = b"!"
        refused(server.post("/decode", [broken], shop), 400, "malformed_envelope")
        assert NAME in json.dumps(server.lines())
    with serving(config, ServerConfig(rules=[{"namespaces": "other"}], default_namespace="shop")) as server:
        assert returned(server.post("/decode", [old])) == [old]  # who may not read there gets nothing opened
    assert proxy.unwraps == 2


async def test_an_envelope_within_what_the_proxy_sealed_opens_for_who_may_read_what_it_names() -> None:
    proxy = FakeKms()
    config = EnvelopeConfig(key=FakeKms(), temporal_proxy_keys={NAME: [proxy]})
    own, foreign = [
        seal_as_proxy(proxy, (await EnvelopeCodec(config, namespace=name).encode([PLAIN]))[0])
        for name in ("shop", "other")
    ]
    with serving(config, ServerConfig(rules=[{"namespaces": "shop"}])) as server:
        assert returned(server.post("/decode", [own], {"X-Namespace": "shop"})) == [PLAIN]
        refused(server.post("/decode", [foreign], {"X-Namespace": "shop"}), 403, "not_allowed")


async def test_data_keys_of_the_proxy_that_a_kms_refuses_count_for_their_caller() -> None:
    proxy = FakeKms()
    config = EnvelopeConfig(key=FakeKms(), temporal_proxy_keys={NAME: [proxy]})
    made_up = [seal_as_proxy(lambda key: os.urandom(60), PLAIN) for _ in range(200)]
    with serving(config, ServerConfig(default_namespace="shop", refused_rate_limit="20/minute")) as server:
        answers = {server.post("/decode", made_up[begin : begin + 20]).status_code for begin in range(0, 200, 20)}
    assert 429 in answers
    assert proxy.unwraps < 100


async def test_a_prefix_is_no_namespace() -> None:
    with serving(CONFIG, ServerConfig(prefix="/codec-server/v1")) as server:
        refused(server.post("/codec-server/v1/encode", [PLAIN]), 400, "no_namespace")
        [envelope] = returned(server.post("/codec-server/v1/shop/encode", [PLAIN]))
        assert returned(server.post("/codec-server/v1/decode", [envelope])) == [PLAIN]
        assert returned(server.post("/decode", [envelope])) == [PLAIN]


@pytest.mark.parametrize("path", ["/", "/nothing", "/decode/x", "/healthz/x", "/decoded", "/%64ecode%2F", "/a/b/c"])
def test_other_paths_are_not_found(server: CodecServer, path: str) -> None:
    refused(server.post(path, [PLAIN]), 404 if path != "/" else 405, "not_found" if path != "/" else "wrong_method")


def test_traversal_leads_nowhere_but_to_a_namespace(server: CodecServer) -> None:
    with serving(KEY, ServerConfig(rules=[{"namespaces": "shop", "verbs": ["encode"]}])) as narrow:
        for path in ("/shop/%2e%2e/encode", "/shop%2F..%2Fprod/encode", "/shop/%2Fetc%2Fpasswd/encode"):
            refused(narrow.http.send(narrow.http.build_request("POST", narrow.url + path)), 403, "not_allowed")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_other_methods_are_refused(server: CodecServer, method: str) -> None:
    for path in ("/decode", "/shop/encode", "/download"):
        response = server.http.request(method, path)
        assert (response.status_code, response.headers["allow"]) == (405, "POST, OPTIONS")
        if method != "HEAD":
            refused(response, 405, "wrong_method")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_other_types_of_body_are_refused(server: CodecServer, kind: str) -> None:
    refused(server.post("/decode", [PLAIN], {"Content-Type": kind}), 415, "wrong_type")


def test_json_may_say_its_character_set_and_must_not_be_compressed(server: CodecServer) -> None:
    assert returned(server.post("/decode", [PLAIN], {"Content-Type": "Application/JSON; charset=UTF-8"})) == [PLAIN]
    refused(server.post("/decode", [PLAIN], {"Content-Encoding": "gzip"}), 415, "wrong_type")


def test_what_is_no_payloads_is_refused(server: CodecServer) -> None:
    for text in (b"", b"{", b"[" * 10_000, b'{"payloads": [{"data": "!"}]}', b'{"payloads": [], "payloads": []}'):
        refused(server.post("/decode", text), 400, "malformed")


async def test_large_batches_keep_their_order(server: CodecServer) -> None:
    texts = [Payload(metadata={"encoding": b"binary/plain"}, data=bytes([n]) * 3_000) for n in range(200)]
    envelopes = await sealed(CONFIG, "default", *texts)
    assert returned(server.post("/decode", envelopes)) == texts
    assert len(returned(server.post("/shop/encode", texts))) == 200


def test_a_request_id_comes_back_if_it_can_do_no_harm(server: CodecServer) -> None:
    assert server.post("/decode", [], {"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, "ä", ""):
        given: Any = {b"X-Request-Id": bad.encode(), b"Content-Type": b"application/json"}
        found = server.http.post("/decode", content=b"{}", headers=given).headers["x-request-id"]
        assert found != bad
        assert len(found) == 32


def test_sealing_that_is_off_leaves_payloads_as_they_are(tmp_path: Path) -> None:
    with serving(EnvelopeConfig(key=KEY, sealing=False), ServerConfig(audit_file=str(tmp_path / "a"))) as server:
        assert returned(server.post("/shop/encode", [PLAIN])) == [PLAIN]
        assert (server.lines()[-1]["passed"], server.lines()[-1]["sealed"]) == (1, 0)
