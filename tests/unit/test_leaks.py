"""No repr, no text, no event and no label of a metric holds a key, a secret, a credential or plaintext.

`tests.unit.test_frames` has the errors and the log.
"""

from __future__ import annotations

import gc
import importlib
import json
import pkgutil
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext

import envelope_codec
from envelope_codec import EnvelopeConfig, EnvelopeError, EnvelopePlugin, kms
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.keys.keyring import Keyring
from envelope_codec.metrics import OpenTelemetryMetrics
from envelope_codec.observe import Event, Observer
from envelope_codec.server import ServerConfig, create_app
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.watch import Watch, watching

OURS = {"envelope_codec", *(f"envelope_codec_{kind}" for kind in ("aws", "azure", "gcp", "local", "vault"))}
TEXT = b"marigold-in-plaintext"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"%b"' % TEXT)
SESAME = "open-sesame"  # one of the credentials that `Watch` looks for
AWS = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GCP = "projects/a-project/locations/global/keyRings/ring/cryptoKeys/key"
URIS = {
    "aws": f"awskms:///{AWS}?endpoint=http://127.0.0.1:1",
    "azure": "azurekv://example.vault.azure.net/key?sign_key=signer",
    "gcp": f"gcpkms://{GCP}?endpoint=127.0.0.1:1",
    "vault": "hashivault://key?endpoint=http://127.0.0.1:1",
}
STORES = [
    f"postgresql://user:{SESAME}@127.0.0.1:1/db?table=t",
    f"redis://user:{SESAME}@127.0.0.1:1/0",
    f"mongodb://user:{SESAME}@127.0.0.1:1/db?collection=c",
    "s3://bucket/prefix?region=us-east-1&endpoint=http://127.0.0.1:1",
    "azblob://account/container?endpoint=http://127.0.0.1:1",
    "gs://bucket/prefix?endpoint=http://127.0.0.1:1",
]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SESAME)
    monkeypatch.setenv("VAULT_TOKEN", SESAME)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SESAME)
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "b3Blbi1zZXNhbWUtYW5kLW1vcmU=")  # open-sesame-and-more
    with watching(errors=False) as watch:
        watch.secrets.add(TEXT)
        yield watch
    assert watch.found() == []


def ours() -> list[Any]:
    """Every object of a class of ours that there is."""
    return [one for one in gc.get_objects() if str(getattr(type(one), "__module__", "")).partition(".")[0] in OURS]


def said_by(things: list[Any], watch: Watch) -> list[str]:
    """The kinds of those whose repr or text holds a secret."""
    found = set()
    for one in things:
        with suppress(ReferenceError, AttributeError):  # half built, or gone
            if watch.secrets.found(f"{one!r}\n{one!s}"):
                found.add(f"{type(one).__module__}.{type(one).__qualname__}")
    return sorted(found)


async def failing(*work: Awaitable[object]) -> None:
    for one in work:
        with suppress(EnvelopeError):
            await one


async def journey(codec: EnvelopeCodec, kms: FakeKms, folder: Path) -> list[Any]:
    """Seal, open, store and retrieve, then fail in several ways; return what to hold on to meanwhile."""
    sealed = await codec.encode([PLAIN, PLAIN])
    assert await codec.decode(sealed) == [PLAIN, PLAIN]
    driver = EnvelopeDriver(Pool(parse_store_url(f"file://{folder}")), codec)
    claims = await driver.store(StorageDriverStoreContext(), sealed)
    assert await driver.retrieve(StorageDriverRetrieveContext(), claims) == sealed
    broken = Payload(metadata=sealed[0].metadata, data=sealed[0].data[:-1] + b"\0")
    await failing(codec.decode([broken]), driver.store(StorageDriverStoreContext(), [PLAIN]))
    kms.denied = True
    await failing(codec.encode([PLAIN]), codec.keyring.renew(), codec.keyring.prewarm("other", timeout=1))
    kms.denied = False
    return [driver, claims, sealed]


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
async def test_no_object_of_ours_says_a_key_or_plaintext(
    wrapping: Literal["wrapping-key", "direct"], watch: Watch, tmp_path: Path
) -> None:
    """Whatever there is while keys are at hand, generated from what the process holds."""
    fake = FakeKms()
    config = EnvelopeConfig(key=fake, wrapping=wrapping)
    codec = EnvelopeCodec(config, keyring=config.keyring())
    held = await journey(codec, fake, tmp_path)
    things = ours()
    assert {"Keyring", "EnvelopeCodec", "EnvelopeDriver", "Record", "Pool"} <= {type(one).__name__ for one in things}
    assert len(watch.secrets.secrets) > 6
    assert said_by(things, watch) == []
    assert held
    codec.keyring.close()


async def test_no_object_of_a_shared_keystore_says_a_key(watch: Watch) -> None:
    fake, keystore = FakeKms(), FakeKeystore()
    config = EnvelopeConfig(key=fake, keystore=keystore)
    codec = EnvelopeCodec(config)
    await codec.decode(await codec.encode([PLAIN]))
    assert said_by(ours(), watch) == []
    codec.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", URIS)
def test_no_provider_says_a_credential(name: str, watch: Watch) -> None:
    key = kms.master_key(URIS[name])
    with suppress(EnvelopeError):
        if name in ("vault", "gcp"):  # whose servers refuse the connection at once
            key.wrap(bytes(range(32)), {"temporal-namespace": "default"})
    plugin = EnvelopePlugin(URIS[name])
    assert said_by([key, plugin, plugin.__dict__, *ours()], watch) == []
    key.close()


def test_no_key_file_says_a_key(watch: Watch, tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    key = kms.master_key(key_uri(tmp_path / "key.json"))
    key.wrap(bytes(range(32)), {"temporal-namespace": "default"})
    assert said_by(ours(), watch) == []


@pytest.mark.slow
@pytest.mark.parametrize("url", STORES, ids=lambda url: url.partition(":")[0])
async def test_no_store_says_a_password(url: str, watch: Watch) -> None:
    parsed = parse_store_url(url)
    config = EnvelopeConfig(key=FakeKms(), storage=url)
    pool = Pool(parsed)
    store = parsed.open()
    assert said_by([parsed, config, pool, store, *ours()], watch) == []
    await store.close()
    await pool.aclose()


def test_no_codec_server_says_a_token(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("")
    settings = ServerConfig(token_files=str(tmp_path / "tokens"), rules=[{"claims": {"sub": "x"}, "namespaces": "a"}])
    app = create_app(EnvelopeConfig(key=FakeKms(), storage=STORES[1]), settings)
    assert said_by([app, app.service, *ours()], watch) == []


@pytest.mark.slow
def test_no_class_of_ours_is_a_dataclass_that_shows_a_secret() -> None:
    """By name: a field that holds a secret has no repr, or its class has one of its own."""
    telling = ("secret", "password", "token", "credential", "private")
    shown = []
    for name in sorted(OURS):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if module.name.endswith("__main__") or ".conformance" in module.name:
                continue
            for one in vars(importlib.import_module(module.name)).values():
                fields = getattr(one, "__dataclass_fields__", {}) if isinstance(one, type) else {}
                if "__create_fn__" not in getattr(getattr(one, "__repr__", None), "__qualname__", "__create_fn__"):
                    continue
                shown += [
                    f"{one.__module__}.{one.__name__}.{field.name}"
                    for field in fields.values()
                    if field.repr and any(word in field.name for word in telling) and field.type in ("str", "bytes")
                ]
    assert sorted(set(shown)) == []


class Told(list[Event]):
    def on_event(self, event: Event) -> None:
        self.append(event)


async def test_no_event_and_no_label_of_a_metric_tells_a_secret(watch: Watch, tmp_path: Path) -> None:
    reader, told = InMemoryMetricReader(), Told()
    observers: list[Observer] = [told, OpenTelemetryMetrics(MeterProvider([reader]).get_meter("envelope_codec"))]
    for observer in observers:
        fake = FakeKms()
        config = EnvelopeConfig(key=fake, backup_keys=[FakeKms()], compression="zstd")
        codec = EnvelopeCodec(config, keyring=config.keyring(observer=observer))
        await journey(codec, fake, tmp_path)
        fake.down = True
        with suppress(EnvelopeError):
            await codec.keyring.prewarm("third", timeout=0.1)
        codec.keyring.close()
    assert {event.outcome for event in told} >= {"ok", "KeyDenied", "InvalidCiphertext"}
    assert [event for event in told if watch.secrets.found(repr(event))] == []
    data = reader.get_metrics_data()
    assert data is not None
    text = data.to_json()
    assert "KeyDenied" in text
    assert not watch.secrets.found(text)
    assert not watch.secrets.found(json.dumps(json.loads(text), ensure_ascii=False))


# --- the watch itself -------------------------------------------------------------------------------------------------


def test_what_is_public_has_been_walked() -> None:
    """`ours` takes whatever there is: a new class needs no line here."""
    assert {module.partition(".")[0] for module in map(str, [Keyring.__module__, envelope_codec.__name__])} <= OURS


@pytest.mark.parametrize("how", ["message", "argument", "extra", "traceback", "error"])
def test_a_leak_is_found_wherever_it_is(how: str) -> None:
    import logging

    from envelope_codec._frames import frameless

    @frameless
    def fails() -> None:
        raise EnvelopeError(TEXT.decode())

    def fail(secret: bytes) -> None:
        raise ValueError

    log = logging.getLogger("some.library")
    with watching() as watch:
        watch.secrets.add(TEXT)
        if how == "message":
            log.debug("sent " + TEXT.hex())
        elif how == "argument":
            log.debug("sent %d bytes of %r", 1, TEXT)
        elif how == "extra":
            log.debug("sent", extra={"body": {"a": TEXT}})
        elif how == "traceback":
            try:
                fail(TEXT)
            except ValueError:
                log.debug("failed", exc_info=True)
        else:
            with suppress(EnvelopeError):
                fails()
    assert watch.found() != []
