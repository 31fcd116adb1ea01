"""Configurations whose keys can't be meant: told when they are made, or at the first use that can tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec import (
    ConfigurationError,
    EnvelopeConfig,
    EnvelopePlugin,
    KeyDenied,
    KeyNotConfigured,
    MasterKey,
)
from envelope_codec._settings import NamespaceSettings
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.kms import master_key
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import Events

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')

AWS = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GCP = "projects/a-project/locations/global/keyRings/ring/cryptoKeys/key"
VAULT = "hashivault://key"


# --- the same master key twice ----------------------------------------------------------------------------------------

SPELLINGS = {
    "aws": (AWS, f"awskms:///{AWS}?read_timeout=3", AWS),
    "gcp": (GCP, f"gcpkms://{GCP}?timeout=3", GCP),
    "azure": (
        "azurekv://example.vault.azure.net/key?sign_key=signer",
        "azurekv://example.vault.azure.net/key?read_timeout=3&sign_key=other,signer",
        "azurekv://example.vault.azure.net/key",
    ),
    "vault": (VAULT, "hashivault://key?read_timeout=3&mount=transit", "hashivault://key?mount=transit"),
    "vault of a cluster": (
        "hashivault://key?mount=m&cluster=c",
        "hashivault://key?cluster=c&mount=m&connect_timeout=1",
        "hashivault://key?cluster=c&mount=m",
    ),
}


@pytest.fixture(autouse=True)
def vault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "a-token")


@pytest.fixture(params=[*SPELLINGS, "file"])
def spellings(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """Two of the same master key, and its key id."""
    if request.param != "file":
        return SPELLINGS[request.param]
    file, link = tmp_path / "key.json", tmp_path / "link.json"
    create_key_file(file)
    link.symlink_to(file)
    return key_uri(file), key_uri(link), master_key(key_uri(file)).key_id


@pytest.mark.slow
@pytest.mark.parametrize("places", [("key", "decrypt_keys"), ("key", "backup_keys"), ("backup_keys", "decrypt_keys")])
@pytest.mark.parametrize("of", ["", "namespaces.prod.", "namespaces.prod-*."])
def test_two_spellings_of_one_master_key(places: tuple[str, str], of: str, spellings: tuple[str, str, str]) -> None:
    one, other, key_id = spellings
    settings: dict[str, Any] = {"key": FakeKms()}
    for place, spelling in zip(places, (one, other), strict=True):
        settings[place] = spelling if place == "key" else [spelling]
    if of:
        settings = {"namespaces": {of.split(".")[1]: settings}}
    with pytest.raises(ConfigurationError) as refused:
        EnvelopePlugin(EnvelopeConfig(**settings))
    assert str(refused.value) == (
        f"{of}decrypt_keys: two of key, backup_keys and decrypt_keys name one master key, {key_id}; list it once"
    )


@pytest.mark.parametrize("place", ["decrypt_keys", "backup_keys"])
def test_one_spelling_twice(place: str) -> None:
    for key in (AWS, FakeKms()):
        once: dict[str, Any] = {place: [key]}
        twice: Any = {"key": FakeKms(), place: [key, key]}
        with pytest.raises(ConfigurationError, match=r"^decrypt_keys: lists a key twice"):
            EnvelopeConfig(key=key, **once)
        with pytest.raises(ConfigurationError, match=r"^namespaces\.prod\.decrypt_keys: lists a key twice"):
            EnvelopeConfig(namespaces={"prod": twice})


def test_an_object_and_a_uri_of_one_master_key() -> None:
    with pytest.raises(ConfigurationError, match=f"one master key, {AWS}; list it once"):
        EnvelopePlugin(AWS, decrypt_keys=[master_key(AWS)])


def test_one_master_key_may_serve_several_namespaces() -> None:
    namespaces: dict[str, NamespaceSettings] = {
        "prod": {"key": AWS},
        "dev-*": {"key": f"awskms:///{AWS}", "decrypt_keys": [GCP]},
    }
    with EnvelopePlugin(EnvelopeConfig(key=AWS, namespaces=namespaces)) as plugin:
        assert all(plugin.keyring.seals(namespace) for namespace in ("prod", "dev-1", "other"))


# --- namespaces without a key, and aliases ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"required": True}, "key: missing; give a key, or one for each namespace under namespaces"),
        ({"required": ["prod-*"]}, "key: missing; give a key, or one for each namespace under namespaces"),
        ({"namespaces": {"prod-*": {}}}, r"namespaces\.prod-\*\.key: Field required"),
        ({"namespaces": {"prod": {"backup_keys": [AWS]}}}, r"namespaces\.prod\.key: Field required"),
        ({"namespaces": {"prod": {"key": 7}}}, r"namespaces\.prod\.key: give a key URI"),
        ({"key": AWS, "backup_keys": [None]}, r"backup_keys\.0: give a key URI"),
        ({"key": AWS, "namespace_aliases": {"a": "b", "b": "c", "c": "a"}}, "namespace_aliases: 'a' must name"),
        ({"key": AWS, "namespace_aliases": {"a": "b", "b": "c"}}, "namespace_aliases: 'a' must name the namespace"),
        ({"key": AWS, "namespace_aliases": {"c": "c"}}, "namespace_aliases: 'c' must name the namespace"),
    ],
)
def test_namespaces_that_can_not_be_meant(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        EnvelopeConfig(**settings)


async def test_a_required_namespace_without_a_key_neither_seals_nor_opens() -> None:
    """Where the SDK names a namespace only when it seals, as for one client's codec that another namespace uses."""
    default = FakeKms()
    codec = EnvelopeCodec(EnvelopeConfig(key=default, namespaces={"prod": {"key": FakeKms()}}, required=["prod*"]))
    bound = codec.with_context(WorkflowSerializationContext(namespace="prod2", workflow_id="w"))
    with pytest.raises(KeyNotConfigured) as refused:
        await bound.encode([PLAIN])
    assert str(refused.value) == "no master key is configured for this namespace"
    other = EnvelopeCodec(default, namespace="prod2")
    with pytest.raises(KeyNotConfigured):
        await bound.decode(await other.encode([PLAIN]))
    assert default.unwraps == 1, "by the other codec alone, which checked its wrapping key"


# --- backup keys that do not wrap -------------------------------------------------------------------------------------


class Decrypting(FakeKms):
    """A master key that its user may decrypt with, and not encrypt."""

    def wrap(self, secret: bytes, context: Any) -> Any:
        raise KeyDenied("permission to use the key is missing", operation="wrap", key_id=self.key_id)


class Encrypting(FakeKms):
    """The reverse."""

    def unwrap(self, wrapped: Any, context: Any) -> Any:
        raise KeyDenied("permission to use the key is missing", operation="unwrap", key_id=self.key_id)


@pytest.fixture(params=[Decrypting, Encrypting])
def backup(request: pytest.FixtureRequest) -> FakeKms:
    made: FakeKms = request.param()
    return made


def recipients(plugin: EnvelopePlugin) -> list[str]:
    key = plugin.keyring.try_sealing_key("default")
    assert key is not None
    return [recipient.key_id for recipient in key.record.recipients]


async def test_a_backup_key_that_is_refused_is_told_and_left_out(backup: FakeKms) -> None:
    first, events = FakeKms(), Events()
    with EnvelopePlugin(first, backup_keys=[backup], observer=events) as plugin:
        await plugin.keyring.prewarm("default", timeout=5)
        assert recipients(plugin) == [first.key_id]
    (refusal,) = [event for event in events if event.outcome != "ok"]
    assert (refusal.outcome, refusal.key_id) == ("KeyDenied", backup.key_id)
    assert refusal.reason == "permission to use the key is missing"


async def test_a_backup_key_that_must_wrap_and_is_refused_ends_the_start(backup: FakeKms) -> None:
    with EnvelopePlugin(FakeKms(), backup_keys=[backup], min_recipients=2) as plugin:
        with pytest.raises(KeyDenied) as refused:
            await plugin.keyring.prewarm("default", timeout=5)
        assert refused.value.key_id == backup.key_id


async def test_a_first_key_that_is_refused_leaves_sealing_to_a_backup_key() -> None:
    backup = FakeKms()
    with EnvelopePlugin(Decrypting(), backup_keys=[backup]) as plugin:
        await plugin.keyring.prewarm("default", timeout=5)
        assert recipients(plugin) == [backup.key_id]


class Alias(FakeKms):
    """A master key that is another one, as a KMS alone knows."""

    def __init__(self, target: MasterKey) -> None:
        super().__init__("fakekms://alias")
        self._target = target

    def wrap(self, secret: bytes, context: Any) -> Any:
        return self._target.wrap(secret, context)

    def unwrap(self, wrapped: Any, context: Any) -> Any:
        return self._target.unwrap(wrapped, context)


async def test_a_backup_key_that_turns_out_to_be_the_first_is_no_second_recipient() -> None:
    key = FakeKms()
    with EnvelopePlugin(key, backup_keys=[Alias(key)]) as plugin:
        await plugin.keyring.prewarm("default", timeout=5)
        assert recipients(plugin) == [key.key_id]
    with EnvelopePlugin(key, backup_keys=[Alias(key)], min_recipients=2) as plugin, pytest.raises(KeyNotConfigured):
        await plugin.keyring.prewarm("default", timeout=5)


# --- key URIs that name nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["key", "backup_keys", "decrypt_keys"])
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nokms://key", "no provider for key URI scheme 'nokms'"),
        ("1234abcd-12ab-34cd-56ef-1234567890ab", "'1234abcd-12ab-34cd-56ef-1234567890ab' is not a key URI"),
        (AWS.replace("1111", "11", 1), "account '1122223333' must be 12 digits"),
        (f"{GCP}/cryptoKeyVersions/2", "names a key version: give the key"),
        ("hashivault://key?token=secret", "a key URI must not hold token="),
        (f"localfile://{os.devnull}/no.json", "can't be read"),
    ],
)
def test_a_key_uri_that_names_nothing(place: str, uri: str, said: str) -> None:
    settings: Any = {"key": FakeKms()} | {place: uri if place == "key" else [uri]}
    for config in (EnvelopeConfig(**settings), EnvelopeConfig(namespaces={"prod": settings})):
        with pytest.raises(ConfigurationError) as refused:
            EnvelopePlugin(config)
        assert said in str(refused.value)
