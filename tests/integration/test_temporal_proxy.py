"""What Temporal's proxy sealed under keys of each KMS that it knows, on real servers: it opens as for the proxy."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from devstack import AzureKeyVaultServer, GcpKmsServer, LocalStack
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import master_key
from envelope_codec.testing.listeners import closed_port
from envelope_codec_azure._signed import SignedCiphertext
from tests.support.harness_aws import AwsHarness
from tests.support.harness_azure import AzureHarness
from tests.support.harness_gcp import GcpHarness, google_client
from tests.support.proxied import PLAIN, seal_as_proxy

AAD = b"of the proxy's own"


@dataclass
class Proxied:
    """A key of the proxy's on a real server.

    Attributes:
        uri: the key as this library reaches it.
        name: what the proxy calls it.
        other: what the proxy would call it with a binding of its own; empty where the KMS knows none.
        wrap: has a data key encrypted as the proxy does.
        wrap_bound: the same, by ``other``.
        harness: changes the key.
    """

    uri: str
    name: str
    other: str
    wrap: Callable[[bytes], bytes]
    wrap_bound: Callable[[bytes], bytes]
    harness: Any


def on_aws(localstack: LocalStack) -> Proxied:
    harness = AwsHarness(localstack)
    uri = harness.create_key()
    arn = uri.removeprefix("awskms:///").partition("?")[0]
    client = harness.client()
    return Proxied(
        uri,
        f"awskms:///{arn}?region=us-east-1",
        f"awskms:///{arn}?context_app=orders",
        lambda key: bytes(client.encrypt(KeyId=arn, Plaintext=key)["CiphertextBlob"]),
        lambda key: bytes(
            client.encrypt(KeyId=arn, Plaintext=key, EncryptionContext={"app": "orders"})["CiphertextBlob"]
        ),
        harness,
    )


def on_gcp(gcp_kms_server: GcpKmsServer) -> Proxied:
    harness = GcpHarness(gcp_kms_server)
    uri = harness.create_key()
    name = uri.removeprefix("gcpkms://").partition("?")[0]

    def wrap(key: bytes, **more: bytes) -> bytes:
        with google_client(gcp_kms_server.endpoint) as client:
            return bytes(client.encrypt(request={"name": name, "plaintext": key, **more}).ciphertext)

    text = base64.urlsafe_b64encode(AAD).decode()
    bound = f"gcpkms://{name}?additional_authenticated_data={text}"
    return Proxied(
        uri, f"gcpkms://{name}", bound, wrap, lambda key: wrap(key, additional_authenticated_data=AAD), harness
    )


def on_azure(azure_vault: AzureKeyVaultServer) -> Proxied:
    harness = AzureHarness(azure_vault)
    uri = harness.create_key()
    place = uri.removeprefix("azurekv://").partition("?")[0]
    host, name = place.split("/")

    def wrap(key: bytes) -> bytes:
        text = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        reply = azure_vault.ask("POST", f"/keys/{name}//encrypt", {"alg": "RSA-OAEP-256", "value": text})
        return base64.urlsafe_b64decode(reply["value"] + "==")

    return Proxied(uri, f"azurekeyvault://{host}/keys/{name}", "", wrap, wrap, harness)


@pytest.fixture(params=["aws", "gcp", "azure"])
def proxied(request: pytest.FixtureRequest) -> Iterator[Proxied]:
    made = {
        "aws": lambda: on_aws(request.getfixturevalue("localstack")),
        "gcp": lambda: on_gcp(request.getfixturevalue("gcp_kms_server")),
        "azure": lambda: on_azure(request.getfixturevalue("azure_vault")),
    }[request.param]()
    yield made
    getattr(made.harness, "close", lambda: None)()


async def decode(proxied: Proxied, *payloads: Payload, uri: str = "", name: str = "", **settings: Any) -> list[Payload]:
    """A reader that has asked nothing before."""
    keys = {name or proxied.name: (uri or proxied.uri,)}
    reading = EnvelopeCodec(EnvelopeConfig(key=proxied.uri, temporal_proxy_keys=keys, **settings))
    try:
        return await reading.decode(payloads)
    finally:
        reading.close()


async def test_what_the_proxy_sealed_opens_and_nothing_with_another_binding(proxied: Proxied) -> None:
    sealed = seal_as_proxy(proxied.wrap, name=proxied.name)
    assert await decode(proxied, sealed, sealed, require_encryption=True) == [PLAIN] * 2
    if proxied.other:
        bound = seal_as_proxy(proxied.wrap_bound, name=proxied.other)
        assert await decode(proxied, bound, name=proxied.other) == [PLAIN]
        for wrap, name in ((proxied.wrap_bound, proxied.name), (proxied.wrap, proxied.other)):
            with pytest.raises(InvalidCiphertext):
                await decode(proxied, seal_as_proxy(wrap, name=name), name=name)


async def test_our_own_records_are_no_data_keys_of_the_proxys(proxied: Proxied) -> None:
    """Both use one master key. What binds our secrets keeps a KMS from unwrapping them for the other purpose.

    An RSA key binds nothing: what comes out is a secret that nobody knows, and no payload was sealed with it.
    """
    context = {"temporal-namespace": "default", "envelope-codec:purpose": "wrapping-key", "envelope-codec:id": "0"}
    with_key = master_key(proxied.uri)
    wrapped = with_key.wrap(os.urandom(32), context)
    with_key.close()
    ciphertext = wrapped.ciphertext
    if proxied.name.startswith("azurekeyvault"):
        ciphertext = SignedCiphertext.parse(ciphertext).oaep
    with pytest.raises(InvalidCiphertext):
        await decode(proxied, seal_as_proxy(lambda key: ciphertext, name=proxied.name))


async def test_a_disabled_key_is_denied_and_one_that_is_enabled_again_opens(proxied: Proxied) -> None:
    sealed = seal_as_proxy(proxied.wrap, name=proxied.name)
    proxied.harness.disable(proxied.uri)
    with pytest.raises(KeyDenied):
        await decode(proxied, sealed)
    proxied.harness.enable(proxied.uri)
    assert await decode(proxied, sealed) == [PLAIN]


async def test_a_key_that_is_gone_is_denied(proxied: Proxied) -> None:
    sealed = seal_as_proxy(proxied.wrap, name=proxied.name)
    proxied.harness.schedule_deletion(proxied.uri)
    with pytest.raises(KeyDenied):
        await decode(proxied, sealed)


async def test_what_another_key_wrapped_is_corrupt(proxied: Proxied) -> None:
    if proxied.name.startswith("azurekeyvault"):
        wrapped = os.urandom(256)
    else:
        wrapped = b"not a ciphertext of any KMS"
    with pytest.raises(InvalidCiphertext):
        await decode(proxied, seal_as_proxy(lambda key: wrapped, name=proxied.name))


async def test_a_kms_that_is_not_there_is_an_outage(proxied: Proxied) -> None:
    with closed_port() as address:
        scheme = "" if proxied.name.startswith("gcpkms") else "https://" if "azure" in proxied.name else "http://"
        base, _, options = proxied.uri.partition("?")
        kept = [option for option in options.split("&") if option and not option.startswith("endpoint=")]
        uri = f"{base}?{'&'.join([*kept, f'endpoint={scheme}{address}'])}"
        with pytest.raises(KmsUnavailable):
            await decode(proxied, seal_as_proxy(proxied.wrap, name=proxied.name), uri=uri, timeout=0.1)


async def test_azure_uses_the_version_that_the_proxys_name_has(azure_vault: AzureKeyVaultServer) -> None:
    proxied = on_azure(azure_vault)
    try:
        before = seal_as_proxy(proxied.wrap, name=proxied.name)
        key = proxied.name.rpartition("/")[2]
        version = azure_vault.ask("GET", f"/keys/{key}")["key"]["kid"].rpartition("/")[2]
        proxied.harness.rotate(proxied.uri)
        with pytest.raises(InvalidCiphertext):
            await decode(proxied, before)
        versioned = f"{proxied.name}/{version}"
        before.metadata["encryption-key-id"] = versioned.encode()
        assert await decode(proxied, before, name=versioned) == [PLAIN]
    finally:
        proxied.harness.close()
