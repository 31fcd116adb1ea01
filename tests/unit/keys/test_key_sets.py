"""Which master keys seal and open for which namespace."""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import ActivitySerializationContext, WorkflowSerializationContext

from envelope_codec import (
    ConfigurationError,
    EnvelopeConfig,
    EnvelopePlugin,
    KeyDenied,
    KeyNotConfigured,
    KmsUnavailable,
    NamespaceKeys,
    SealingContext,
)
from envelope_codec.envelope import Record, parse
from envelope_codec.keys.key_sets import KeySets, foreign_master
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms, ManualClock

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')


def config(**settings: Any) -> EnvelopeConfig:
    return EnvelopeConfig(**settings)


def key_of(sets: KeySets, namespace: str, kind: str = "sealing") -> Any:
    found = getattr(sets, kind)(namespace)
    return found and found.key


# --- names and patterns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["key", "backup_keys", "decrypt_keys"])
def test_one_master_key_in_two_spellings_is_told(place: str) -> None:
    arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    other = FakeKms()
    settings: dict[str, Any] = {"key": other, place: [f"awskms:///{arn}", arn]}
    if place == "key":
        settings = {"key": arn, "decrypt_keys": [f"awskms:///{arn}"]}
    with pytest.raises(ConfigurationError, match=rf"^namespaces\.x\.decrypt_keys: two .* one master key, {arn}"):
        KeySets(config(namespaces={"x": settings}))


async def test_a_client_of_a_namespace_without_keys_is_not_made() -> None:
    settings = config(key=FakeKms(), namespaces={"prod": {"key": FakeKms()}}, required=["prod*"])
    with EnvelopePlugin(settings) as plugin:
        for namespace in ("prod", "dev"):
            await Client.connect("127.0.0.1:1", lazy=True, namespace=namespace, plugins=[plugin])
        with pytest.raises(ConfigurationError, match="namespace 'prod2' has no master key"):
            await Client.connect("127.0.0.1:1", lazy=True, namespace="prod2", plugins=[plugin])
    with EnvelopePlugin(settings.model_copy(update={"sealing": False})) as plugin:
        await Client.connect("127.0.0.1:1", lazy=True, namespace="prod2", plugins=[plugin])


def test_patterns_are_gone_through_once_for_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up stands before each call of a KMS, and before each request to the codec server, on its event loop."""
    compared: list[str] = []

    def compare(name: str, pattern: str) -> bool:
        compared.append(name)
        return fnmatchcase(name, pattern)

    sets = KeySets(config(key=FakeKms(), namespaces={f"tenant-{number}-*": {"key": FakeKms()} for number in range(50)}))
    monkeypatch.setattr("envelope_codec.keys.namespaces.fnmatchcase", compare)
    for _ in range(20):
        assert sets.sealing("live") is sets.opening("live")
    assert len(compared) == 2 * 50


# --- a key for each tenant --------------------------------------------------------------------------------------------


class Tenants:
    """A master key for each tenant, whose name is the beginning of its workflows' ids."""

    def __init__(self, *names: str) -> None:
        self.keys = {name: FakeKms() for name in names}
        self.asked: list[SealingContext] = []

    def __call__(self, context: SealingContext) -> NamespaceKeys | None:
        self.asked.append(context)
        key = self.keys.get(context.workflow_id.partition("-")[0])
        return None if key is None else NamespaceKeys(key=key, context={"tenant": context.workflow_id[0]})

    def codec(self, **settings: Any) -> EnvelopeCodec:
        keys = tuple(self.keys.values())
        return EnvelopeCodec(config(key=FakeKms(), decrypt_keys=keys, resolver=self, **settings))


def of_workflow(workflow_id: str) -> WorkflowSerializationContext:
    return WorkflowSerializationContext(namespace="default", workflow_id=workflow_id)


def of_activity(workflow_id: str | None) -> ActivitySerializationContext:
    return ActivitySerializationContext(
        namespace="default",
        activity_id="1",
        activity_type="t",
        activity_task_queue="q",
        workflow_id=workflow_id,
        workflow_type="w",
        is_local=False,
    )


async def sealed(codec: EnvelopeCodec) -> tuple[Payload, Record]:
    [payload] = await codec.encode([PLAIN])
    envelope = parse(payload.metadata, payload.data)
    assert envelope is not None
    return payload, envelope.record


async def test_each_tenant_has_a_wrapping_key_of_its_own() -> None:
    tenants = Tenants("acme", "bolt")
    codec = tenants.codec()
    records = {}
    for workflow_id in ("acme-1", "acme-2", "bolt-1", "other"):
        for context in (of_workflow(workflow_id), of_activity(workflow_id)):
            payload, record = await sealed(codec.with_context(context))
            assert await codec.decode([payload]) == [PLAIN]
            records[workflow_id, type(context)] = record
    assert len({record.id for record in records.values()}) == 3
    assert tenants.keys["acme"].wraps == tenants.keys["bolt"].wraps == 1
    acme = records["acme-2", WorkflowSerializationContext]
    assert acme.recipients[0].key_id == tenants.keys["acme"].key_id
    assert acme.context == (("temporal-namespace", "default"), ("tenant", "a"))
    assert {context.workflow_id for context in tenants.asked} == {"acme-1", "acme-2", "bolt-1", "other"}
    codec.close()


async def test_without_a_workflow_the_resolver_is_told_so() -> None:
    tenants = Tenants("acme")
    codec = tenants.codec()
    await sealed(codec)
    await sealed(codec.with_context(of_activity(None)))
    assert tenants.asked == [SealingContext("default", "")] * 2
    codec.close()


async def test_the_resolver_is_not_asked_when_payloads_are_opened() -> None:
    tenants = Tenants("acme", "bolt")
    codec = tenants.codec()
    payload, _ = await sealed(codec.with_context(of_workflow("acme-1")))
    tenants.asked.clear()
    assert await codec.with_context(of_workflow("bolt-1")).decode([payload]) == [PLAIN]
    assert tenants.asked == []
    codec.close()


async def test_a_tenant_whose_master_key_is_gone_is_lost_and_nobody_else_is() -> None:
    tenants = Tenants("acme", "bolt")
    codec = tenants.codec()
    acme, _ = await sealed(codec.with_context(of_workflow("acme-1")))
    bolt, _ = await sealed(codec.with_context(of_workflow("bolt-1")))
    tenants.keys["acme"].denied = True
    codec.close()
    reader = tenants.codec()  # another process, which no key was told of by what it sealed itself
    with pytest.raises(KeyDenied):
        await reader.decode([acme])
    assert await reader.decode([bolt]) == [PLAIN]
    reader.close()


async def test_keys_of_a_resolver_may_be_named_by_uri(tmp_path: Any) -> None:
    from envelope_codec.cli.keygen import create_key_file, key_uri

    create_key_file(tmp_path / "tenant.json")
    uri = key_uri(tmp_path / "tenant.json")
    codec = EnvelopeCodec(config(key=FakeKms(), decrypt_keys=[uri], resolver=lambda context: uri))
    payload, record = await sealed(codec)
    assert record.recipients[0].key_id.startswith("localfile://")
    assert (await sealed(codec))[1].id == record.id
    assert await codec.decode([payload]) == [PLAIN]
    codec.close()


def failing(context: SealingContext) -> Any:
    raise RuntimeError("arn:of-a-tenant")


@pytest.mark.parametrize(
    "resolver",
    [failing, lambda context: "nonsense://arn:of-a-tenant", lambda context: 7],
    ids=["raises", "uri", "type"],
)
async def test_a_resolver_of_no_use_fails_the_payload_and_its_words_go_to_the_log_alone(
    resolver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    codec = EnvelopeCodec(config(key=FakeKms(), resolver=resolver))
    with caplog.at_level(logging.ERROR), pytest.raises(KeyNotConfigured) as caught:
        await codec.encode([PLAIN])
    assert str(caught.value) == "the resolver gave no master key to seal with"
    assert caught.value.__cause__ is None
    assert "resolver" in caplog.text
    codec.close()


async def test_a_resolver_may_say_that_it_can_not_tell_now() -> None:
    def unavailable(context: SealingContext) -> Any:
        raise KmsUnavailable("the directory of tenants does not answer")

    codec = EnvelopeCodec(config(key=FakeKms(), resolver=unavailable))
    with pytest.raises(KmsUnavailable, match="directory of tenants"):
        await codec.encode([PLAIN])
    codec.close()


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_key_set_has_a_lease_of_its_own_or_the_general_one(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text('key = "testkms://x"\nlease = "2m"\n[namespaces.strict]\nkey = "testkms://y"\nlease = "30s"\n')
    assert EnvelopeConfig.from_file(file).namespaces["strict"].lease == 30.0
    kms, strict = FakeKms(), FakeKms()
    sets = KeySets(config(key=kms, lease="2m", namespaces={"strict": {"key": strict, "lease": "30s"}}))
    assert {name: getattr(sets.sealing(name), "lease", 0) for name in ("strict", "other")} == {
        "strict": 30.0,
        "other": None,
    }
    with pytest.raises(ConfigurationError, match=r"namespaces\.strict\.lease"):
        config(key=kms, namespaces={"strict": {"key": strict, "lease": 0}})


async def test_a_resolver_s_key_set_has_a_lease_of_its_own() -> None:
    kms, clock = FakeKms(), ManualClock()
    answers = {
        "strict/1": NamespaceKeys(key=kms, lease=30.0, context={"tenant": "strict"}),
        "same/1": NamespaceKeys(key=kms),
    }
    sets = KeySets(config(key=kms, resolver=lambda context: answers.get(context.workflow_id)))
    ring = Keyring(sets.sealing, resolve=sets.resolve, clock=clock, spawn=lambda job: job())
    strict, same = (ring.find_scope(SealingContext("n", workflow_id)) for workflow_id in ("strict/1", "same/1"))
    assert strict != same
    for place in (strict, same):
        await ring.sealing_key(place)
    kms.denied = True
    clock.advance(30)
    assert ring.try_sealing_key(strict) is None
    assert ring.try_sealing_key(same) is not None
    ring.close()


def test_a_master_key_of_a_kind_that_the_proxy_does_not_know_is_told_by_its_setting() -> None:
    class Other(FakeKms):
        proxy_unwrapper = None  # type: ignore[assignment]

    master = Other()
    with pytest.raises(ConfigurationError, match=rf"^proxied_keys\.x: .* no keys of this kind: {master.key_id}$"):
        foreign_master(master, "fakekms://x", "proxied_keys.x")
