"""Payloads that Temporal's proxy sealed: those of configured keys open, and nothing else does."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec import (
    EncryptionRequired,
    EnvelopeCodec,
    EnvelopeConfig,
    InvalidCiphertext,
    KeyDenied,
    KeyNotConfigured,
    KmsUnavailable,
    MalformedEnvelope,
)
from envelope_codec.errors import ConfigurationError, ContextMismatch, EnvelopeError
from envelope_codec.observe import Event
from envelope_codec.temporal.system_payloads import SYSTEM_MARK
from envelope_codec.testing import FakeKms
from tests.support.frame_walker import Sentinels, leaks
from tests.support.proxied import NAME, PLAIN, seal_as_proxy
from tests.support.static_key_codec import StaticKeyCodec

VECTORS = Path(__file__).parents[2] / "vectors" / "temporal_proxy" / "payloads.json"
Vector = dict[str, Any]


class Vault(FakeKms):
    """A KMS that has wrapped what one vector says."""

    def __init__(self, vector: Vector) -> None:
        super().__init__()
        self._vector = vector

    def _unwrap_proxied(self, ciphertext: bytes) -> bytes:
        assert ciphertext == bytes.fromhex(self._vector["wrapped"])
        return bytes.fromhex(self._vector["data_key"])


class Counts(Counter[str]):
    def on_event(self, event: Event) -> None:
        self[event.operation] += event.payloads


def payload_of(part: Vector) -> Payload:
    metadata = {name: bytes.fromhex(value) for name, value in part["metadata"].items()}
    return Payload(metadata=metadata, data=bytes.fromhex(part["data"]))


def codec(proxy: FakeKms | None = None, *, observer: Any = None, name: str = NAME, **settings: Any) -> EnvelopeCodec:
    keys = {} if proxy is None else {name: [proxy]}
    config = EnvelopeConfig(key=settings.pop("key", None) or FakeKms(), temporal_proxy_keys=keys, **settings)
    return EnvelopeCodec(config, observer=observer)


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text("ascii"))["vectors"], ids=lambda vector: vector["name"])
async def test_what_the_proxy_itself_sealed_opens(vector: Vector) -> None:
    reading = codec(Vault(vector), name=vector["key_id"], require_encryption=True)
    given = payload_of(vector)
    assert await reading.decode([given, given]) == [payload_of(vector["payload"])] * 2
    assert given == payload_of(vector)


async def test_payloads_are_counted_as_legacy_and_cost_one_call_for_each_data_key() -> None:
    proxy, counts = FakeKms(), Counts()
    reading = codec(proxy, observer=counts)
    sealed = [seal_as_proxy(proxy, data_key=bytes(32)) for _ in range(5)]
    same = [Payload.FromString(sealed[0].SerializeToString()) for _ in range(95)]
    assert await reading.decode(same) == [PLAIN] * 95
    assert (proxy.unwraps, counts["legacy"]) == (1, 95)
    assert await reading.decode(sealed) == [PLAIN] * 5
    assert proxy.unwraps == 5, "each wrap of the same data key is another ciphertext"


async def test_a_large_payload_opens_in_a_thread() -> None:
    proxy = FakeKms()
    large = Payload(metadata={"encoding": b"binary/plain"}, data=os.urandom(2**21))
    assert await codec(proxy).decode([seal_as_proxy(proxy, large)]) == [large]


@pytest.mark.parametrize("change", ["data", "nonce", "truncated", "other key"])
async def test_what_does_not_authenticate_does_not_open(change: str) -> None:
    proxy = FakeKms()
    sealed = seal_as_proxy(proxy)
    if change == "other key":
        sealed.metadata["encryption-dek"] = seal_as_proxy(proxy).metadata["encryption-dek"]
    else:
        data = bytearray(sealed.data)
        data[{"data": -20, "nonce": 0, "truncated": -1}[change]] ^= 1
        sealed.data = bytes(data[:-1] if change == "truncated" else data)
    with pytest.raises(InvalidCiphertext):
        await codec(proxy).decode([sealed])


async def test_what_was_sealed_and_is_no_payload_is_refused() -> None:
    proxy, key, nonce = FakeKms(), os.urandom(32), bytes(12)
    sealed = seal_as_proxy(proxy, data_key=key)
    sealed.data = nonce + AESGCM(key).encrypt(nonce, b"\xff\xff", None)
    with pytest.raises(InvalidCiphertext):
        await codec(proxy).decode([sealed])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encryption-dek", b"not base64!"),
        ("encryption-dek", b"AAAA\n"),
        ("encryption-dek", b"===="),
        ("encryption-dek", base64.b64encode(bytes(5000))),
        ("encryption-dek", b"A" * 10_000_000),
        ("data", bytes(27)),
        ("data", b""),
    ],
)
async def test_what_is_not_whole_reaches_no_kms(name: str, value: bytes) -> None:
    proxy = FakeKms()
    sealed = seal_as_proxy(proxy)
    if name == "data":
        sealed.data = value
    else:
        sealed.metadata[name] = value
    with pytest.raises(MalformedEnvelope):
        await codec(proxy).decode([sealed])
    assert proxy.unwraps == 0


@pytest.mark.parametrize("key_id", ["awskms:///other?endpoint=http://evil.example", NAME + "/", NAME.upper(), "\n"])
async def test_a_key_that_is_not_listed_is_refused_and_never_asked(key_id: str, caplog: Any) -> None:
    proxy = FakeKms()
    sealed = seal_as_proxy(proxy)
    sealed.metadata["encryption-key-id"] = key_id.encode()
    with pytest.raises(KeyNotConfigured) as caught:
        await codec(proxy).decode([sealed])
    assert key_id not in str(caught.value)
    assert repr(key_id) in caplog.text
    assert proxy.unwraps == 0


@pytest.mark.parametrize("lacks", ["encryption-dek", "encryption-key-id", "encoding"])
async def test_what_lacks_a_part_is_none_of_the_proxys(lacks: str) -> None:
    proxy = FakeKms()
    sealed = seal_as_proxy(proxy)
    del sealed.metadata[lacks]
    assert await codec(proxy).decode([sealed]) == [sealed]
    with pytest.raises(EncryptionRequired):
        await codec(proxy, require_encryption=True).decode([sealed])


async def test_without_the_setting_everything_is_as_before() -> None:
    sealed = seal_as_proxy(FakeKms())
    assert await codec().decode([sealed]) == [sealed]
    with pytest.raises(EncryptionRequired):
        await codec(require_encryption=True).decode([sealed])


async def test_a_namespace_opens_only_what_it_lists() -> None:
    proxy = FakeKms()
    namespaces: Any = {
        "billing": {"key": FakeKms()},
        "orders": {"key": FakeKms(), "temporal_proxy_keys": {NAME: [proxy]}},
    }
    reading = EnvelopeCodec(EnvelopeConfig(namespaces=namespaces))
    sealed = seal_as_proxy(proxy)

    async def decode(namespace: str) -> list[Payload]:
        context = WorkflowSerializationContext(namespace=namespace, workflow_id="w")
        return await reading.with_context(context).decode([sealed])

    assert await decode("orders") == [PLAIN]
    for namespace in ("billing", "default"):
        with pytest.raises(KeyNotConfigured):
            await decode(namespace)


async def test_what_the_proxy_sealed_opens_in_any_place_where_its_key_is_listed() -> None:
    """It names neither its namespace nor its workflow."""
    proxy = FakeKms()
    listed: Any = {"key": FakeKms(), "temporal_proxy_keys": {NAME: [proxy]}}
    reading = EnvelopeCodec(EnvelopeConfig(namespaces={"one": listed, "other": listed}, require_encryption=True))
    sealed = seal_as_proxy(proxy)
    for namespace in ("one", "other"):
        context = WorkflowSerializationContext(namespace=namespace, workflow_id=f"of {namespace}")
        assert await reading.with_context(context).decode([sealed]) == [PLAIN]


async def test_metadata_that_readers_must_not_believe_is_dropped() -> None:
    """The SDK would take what has its mark for a payload that no codec is to seal."""
    proxy, static = FakeKms(), StaticKeyCodec()
    marked = Payload(metadata={**PLAIN.metadata, SYSTEM_MARK: b"true", "encryption-padding": b"xx"}, data=PLAIN.data)
    reading = codec(proxy, legacy_codecs=[static], require_encryption=True)
    for sealed in (seal_as_proxy(proxy, marked), *await static.encode([marked])):
        assert await reading.decode([sealed]) == [PLAIN]


@pytest.mark.parametrize("fault", ["data", "content", "denied", "down", "length"])
async def test_no_error_leads_to_a_data_key_or_plaintext(fault: str) -> None:
    proxy, key, nonce = FakeKms(), os.urandom(32), bytes(12)
    sealed = seal_as_proxy(proxy, data_key=key)
    if fault == "data":
        sealed.data = sealed.data[:-1]
    elif fault == "content":
        sealed.data = nonce + AESGCM(key).encrypt(nonce, b"\xff" + PLAIN.data, None)
    elif fault == "length":
        sealed.metadata["encryption-dek"] = base64.b64encode(proxy.wrap_for_proxy(key + b"x"))
    proxy.denied, proxy.down = fault == "denied", fault == "down"
    with pytest.raises(EnvelopeError) as caught:
        await codec(proxy, timeout=0.01).decode([sealed])
    assert leaks(caught.value, Sentinels(key, PLAIN.data)) == []
    assert NAME not in str(caught.value)
    assert proxy.key_id not in str(caught.value)


async def test_an_outage_is_an_outage_and_a_denial_a_denial() -> None:
    proxy = FakeKms()
    proxy.denied = True
    with pytest.raises(KeyDenied):
        await codec(proxy).decode([seal_as_proxy(proxy)])
    proxy.down = True
    with pytest.raises(KmsUnavailable) as caught:
        await codec(proxy, timeout=0.01).decode([seal_as_proxy(proxy)])
    assert caught.value.retryable


async def test_our_envelopes_never_open_that_way_even_where_both_use_one_master_key() -> None:
    """The record's ciphertext is bound to its context, so that it is no data key of the proxy's to a KMS."""
    both = FakeKms()
    ours = codec(both, key=both)
    [envelope] = await ours.encode([PLAIN])
    before = both.unwraps
    for encoding in (b"binary/encrypted", b"binary/envelope-v1"):
        mixed = Payload.FromString(envelope.SerializeToString())
        mixed.metadata["encoding"] = encoding
        mixed.metadata["encryption-dek"] = base64.b64encode(envelope.metadata["encryption-wrapped-key"])
        mixed.metadata["encryption-key-id"] = NAME.encode()
        with pytest.raises((MalformedEnvelope, InvalidCiphertext)):
            await codec(both, key=both).decode([mixed])
    assert both.unwraps <= before + 1
    assert await ours.decode([envelope]) == [PLAIN]


async def test_an_envelope_that_went_through_the_proxy_opens_and_keeps_its_rules() -> None:
    proxy, mine, counts = FakeKms(), FakeKms(), Counts()
    reading = codec(proxy, key=mine, observer=counts, require_encryption=True)
    [envelope] = await reading.encode([PLAIN])
    twice = seal_as_proxy(proxy, envelope)
    assert await reading.decode([twice]) == [PLAIN]
    assert (counts["legacy"], counts["open"]) == (1, 1)
    other = reading.with_context(WorkflowSerializationContext(namespace="other", workflow_id="w"))
    with pytest.raises(ContextMismatch):
        await other.decode([twice])
    envelope.data = envelope.data[:-1]
    with pytest.raises(InvalidCiphertext):
        await reading.decode([seal_as_proxy(proxy, envelope)])
    assert await reading.decode([seal_as_proxy(proxy, seal_as_proxy(proxy))]) != [PLAIN], "one layer of the proxy's"


async def test_a_static_key_codec_of_the_same_encoding_still_opens_its_own() -> None:
    proxy, static = FakeKms(), StaticKeyCodec()
    reading = codec(proxy, legacy_codecs=[static])
    sealed = [*await static.encode([PLAIN]), seal_as_proxy(proxy), *await static.encode([PLAIN])]
    assert await reading.decode(sealed) == [PLAIN] * 3


@pytest.mark.parametrize(
    "settings",
    [
        {"temporal_proxy_keys": {NAME: []}},
        {"temporal_proxy_keys": {"": ["fakekms://x"]}},
        {"temporal_proxy_keys": {"x" * 2049: ["fakekms://x"]}},
        {"temporal_proxy_keys": {NAME: [1]}},
        {"temporal_proxy_keys": [NAME]},
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="temporal_proxy_keys"):
        EnvelopeConfig(key=FakeKms(), **settings)


def test_a_key_of_a_kind_that_the_proxy_has_not_is_refused(tmp_path: Path) -> None:
    class Plain:
        key_id = "plain://key"
        accepts = wrap = unwrap = close = None

    with pytest.raises(ConfigurationError, match="temporal_proxy_keys"):
        EnvelopeConfig(key=FakeKms(), temporal_proxy_keys={NAME: [Plain()]}).keyring()  # type: ignore[list-item]


def test_the_environment_gives_names_and_keys_as_json() -> None:
    environ = {
        "ENVELOPE_CODEC_KEY": "fakekms://a",
        "ENVELOPE_CODEC_TEMPORAL_PROXY_KEYS": json.dumps({NAME: "fakekms://b"}),
    }
    assert EnvelopeConfig.from_env(environ).temporal_proxy_keys == {NAME: ("fakekms://b",)}


def test_no_option_of_a_key_is_in_a_repr() -> None:
    config = EnvelopeConfig(key=FakeKms(), temporal_proxy_keys={f"{NAME}?context_a=secret": "fakekms://b?token=secret"})
    assert "secret" not in repr(config)
