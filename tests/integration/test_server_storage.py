"""References to external storage: followed or left, and nothing read through the server that is not ours."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from devstack import LocalStack
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.client import Client
from temporalio.contrib.aws.s3driver import S3StorageDriver, S3StorageDriverClient
from temporalio.converter import (
    DataConverter,
    ExternalStorage,
    JSONProtoPayloadConverter,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from envelope_codec import ConfigurationError, EnvelopeCodec, EnvelopeConfig, EnvelopePlugin, InvalidCiphertext
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, build_record, record_head
from envelope_codec.server import ServerConfig, create_app
from envelope_codec.testing import FakeKms
from tests.support.codec_server import PLAIN, refused, returned, sealed, serving, until

KEY = FakeKms()
MARK = "__temporal_external_storage_reference"
KEEP = "?preserveStorageRefs=true"


class Folder(StorageDriver):
    """Keeps payloads in files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.retrieved = 0

    def name(self) -> str:
        return "folder"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        return [self.put(payload.SerializeToString()) for payload in payloads]

    def put(self, data: bytes) -> StorageDriverClaim:
        name = uuid4().hex
        (self.path / name).write_bytes(data)
        return StorageDriverClaim(claim_data={"name": name})

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        self.retrieved += len(claims)
        return [Payload.FromString((self.path / claim.claim_data["name"]).read_bytes()) for claim in claims]


def reference(claim: StorageDriverClaim, driver: str = "folder") -> Payload:
    payload = JSONProtoPayloadConverter().to_payload(
        ExternalStorageReference(driver_name=driver, claim_data=dict(claim.claim_data))
    )
    assert payload is not None
    payload.external_payloads.add().size_bytes = 12
    return payload


def earlier(claim: StorageDriverClaim) -> Payload:
    data = {"driver_name": "folder", "driver_claim": {"claim_data": dict(claim.claim_data)}}
    return Payload(metadata={"encoding": b"json/external-storage-reference"}, data=json.dumps(data).encode())


async def marked(payload: Payload, namespace: str = "default") -> Payload:
    """As the SDK writes it once it encodes references."""
    [found] = await sealed(KEY, namespace, payload)
    found.external_payloads.extend(payload.external_payloads)
    found.metadata[MARK] = b"true"
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "store").mkdir()
    return Folder(tmp_path / "store")


async def test_what_the_sdk_stored_is_decoded_or_left_or_downloaded(folder: Folder, tmp_path: Path) -> None:
    storage = ExternalStorage(drivers=[folder], payload_size_threshold=0)
    codec = EnvelopeCodec(KEY)
    stored = await DataConverter(payload_codec=codec, external_storage=storage).encode(["Ada"])
    codec.close()
    with serving(KEY, ServerConfig(audit_file=str(tmp_path / "audit")), storage) as server:
        [shown] = returned(server.post("/decode" + KEEP, stored))
        assert shown == stored[0]
        assert folder.retrieved == 0
        assert returned(server.post("/decode?preservestoragerefs=true", stored))[0].data == b'"Ada"'  # another name
        assert returned(server.post("/decode?preserveStorageRefs=TRUE", stored)) == stored
        assert returned(server.post("/decode?preserveStorageRefs=1", stored))[0].data == b'"Ada"'
        for path in ("/decode", "/decode?preserveStorageRefs=false", "/download" + KEEP, "/download"):
            [found] = returned(server.post(path, [shown]))
            assert (found.data, found.metadata["encoding"]) == (b'"Ada"', b"json/plain")
        mixed = returned(server.post("/decode", [PLAIN, shown, PLAIN]))
        assert [payload.data for payload in mixed] == [PLAIN.data, b'"Ada"', PLAIN.data]
        assert (server.lines()[-1]["opened"], server.lines()[-1]["passed"]) == (1, 2)
        assert server.lines()[-2]["verb"] == "download"


async def test_references_of_every_form_are_known(folder: Folder) -> None:
    [envelope] = await sealed(KEY, "default")
    claim = folder.put(envelope.SerializeToString())
    coded = await marked(reference(claim))
    with serving(KEY, ServerConfig(), folder) as server:
        for payload in (reference(claim), earlier(claim), coded):
            assert returned(server.post("/decode", [payload])) == [PLAIN]
            assert returned(server.post("/download", [payload])) == [PLAIN]
        # The Web UI knows a reference by its message type: it is decoded, not followed, and can be downloaded then.
        [shown] = returned(server.post("/decode" + KEEP, [coded]))
        assert shown == reference(claim)
        assert returned(server.post("/decode" + KEEP, [earlier(claim)])) == [earlier(claim)]


async def test_nothing_is_read_through_the_server_that_is_not_ours(folder: Folder, tmp_path: Path) -> None:
    plain = folder.put(PLAIN.SerializeToString())
    other = folder.put(b"\xff\xfe no payload")
    [foreign] = await sealed(FakeKms(), "default")
    [envelope] = await sealed(KEY, "default")
    chain = folder.put(reference(folder.put(envelope.SerializeToString())).SerializeToString())
    sealed_chain = await marked(reference(chain))
    strange = folder.put(foreign.SerializeToString())
    with serving(KEY, ServerConfig(audit_file=str(tmp_path / "audit")), folder) as server:
        refused(server.post("/decode", [reference(plain)]), 400, "not_an_envelope")
        refused(server.post("/download", [reference(plain)]), 400, "not_an_envelope")
        refused(server.post("/download", [reference(chain)]), 400, "not_an_envelope")
        refused(server.post("/download", [sealed_chain]), 400, "not_an_envelope")
        refused(server.post("/download", [reference(strange)]), 400, "key_not_configured")
        refused(server.post("/download", [reference(other)]), 503, "storage_unavailable")
        response = server.post("/decode", [reference(plain), PLAIN])
        assert returned(response) == [reference(plain), PLAIN]
        assert response.headers["x-envelope-failed"] == "1"
        assert server.lines()[-1]["failed"] == {"NotAnEnvelope": 1}


async def test_what_a_reference_leads_to_is_read_by_those_who_may_read_it(folder: Folder, tmp_path: Path) -> None:
    [envelope] = await sealed(KEY, "prod")
    payload = reference(folder.put(envelope.SerializeToString()))
    coded = await marked(payload, "dev")
    hidden = await marked(payload, "prod")
    rules = [{"namespaces": "dev", "verbs": ["decode", "download"]}]
    settings = ServerConfig(rules=rules, audit_file=str(tmp_path / "audit"))
    with serving(KEY, settings, folder) as server:
        for path in ("/decode", "/download"):
            for given in (payload, coded):
                refused(server.post(path, [given], {"X-Namespace": "dev"}), 403, "not_allowed")
                assert (server.lines()[-1]["denied"], server.lines()[-1]["namespaces"]) == (1, ["prod"])
        refused(server.post("/decode" + KEEP, [hidden]), 403, "not_allowed")
    with serving(KEY, ServerConfig(rules=[{"namespaces": "*", "verbs": "decode"}]), folder) as server:
        assert returned(server.post("/decode", [payload])) == [PLAIN]
        refused(server.post("/download", [payload]), 403, "not_allowed")


async def test_references_that_lead_nowhere(folder: Folder) -> None:
    gone = reference(StorageDriverClaim(claim_data={"name": "gone"}))
    unknown = reference(StorageDriverClaim(claim_data={}), "elsewhere")
    broken = Payload(metadata=gone.metadata, data=b"{")
    shapeless = Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b'{"driver_name": 7}')
    [text] = await sealed(KEY, "default")
    text.metadata[MARK] = b"true"
    with serving(KEY, ServerConfig(), folder) as server:
        response = refused(server.post("/download", [gone]), 503, "storage_unavailable")
        assert response.headers["retry-after"] == "5"
        assert str(folder.path) not in response.text
        for payload in (unknown, broken, shapeless, text):
            refused(server.post("/download", [payload]), 400, "bad_reference")
        refused(server.post("/download", [PLAIN]), 400, "bad_reference")
        refused(server.post("/download", []), 400, "not_one_payload")
        refused(server.post("/download", [gone, gone]), 400, "not_one_payload")
        # Encoding with references kept: a worker must know them again.
        assert returned(server.post("/default/encode" + KEEP, [gone])) == [gone]
        assert returned(server.post("/default/encode", [gone])) != [gone]


async def test_without_storage_references_pass_and_nothing_is_downloaded(folder: Folder) -> None:
    payload = reference(folder.put(b""))
    coded = await marked(payload)
    with serving(KEY) as server:
        assert returned(server.post("/decode", [payload])) == [payload]
        assert returned(server.post("/decode", [coded])) == [payload]
        refused(server.post("/download" + KEEP, [payload]), 404, "no_storage")


class Sealed(Folder):
    """A driver of this library, whose references are sealed as well."""

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        raise InvalidCiphertext("the claim is not what was sealed")


async def test_references_that_can_t_be_opened_are_no_outage(tmp_path: Path) -> None:
    driver = Sealed(tmp_path)
    payload = reference(driver.put(b""))
    with serving(KEY, ServerConfig(), driver) as server:
        refused(server.post("/download", [payload]), 400, "invalid_ciphertext")
        assert returned(server.post("/decode", [payload, PLAIN])) == [payload, PLAIN]


class Bucket(S3StorageDriverClient):
    """What the SDK's own S3 driver needs, on boto3."""

    def __init__(self, endpoint: str) -> None:
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}),
        )
        self._s3.create_bucket(Bucket="payloads")

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        self._s3.put_object(Bucket=bucket, Key=key, Body=data)

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        return "Contents" in self._s3.list_objects_v2(Bucket=bucket, Prefix=key)

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        data: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data


async def test_the_sdk_s_own_s3_driver_leads_to_payloads(localstack: LocalStack, tmp_path: Path) -> None:
    bucket = Bucket(localstack.endpoint)
    storage = ExternalStorage(drivers=[S3StorageDriver(bucket, "payloads")], payload_size_threshold=0)
    codec = EnvelopeCodec(KEY, namespace="shop")
    stored = await DataConverter(payload_codec=codec, external_storage=storage).encode(["Ada"])
    codec.close()
    await bucket.put_object(bucket="payloads", key="secrets", data=b"of somebody else")
    digest = sha256(b"of somebody else").hexdigest()
    claim = {"bucket": "payloads", "key": "secrets", "hash_algorithm": "sha256", "hash_value": digest}
    other = reference(StorageDriverClaim(claim_data=claim), "aws.s3driver")
    with serving(KEY, ServerConfig(), storage) as server:
        assert returned(server.post("/decode" + KEEP, stored)) == stored
        for path in ("/decode", "/download" + KEEP):
            assert returned(server.post(path, stored, {"X-Namespace": "shop"}))[0].data == b'"Ada"'
            response = server.post(path, [other])
            assert response.status_code in (400, 503)
            assert "somebody" not in response.text
            assert "payloads" not in response.json()["message"]


class Stuck(Folder):
    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_store_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    driver = Stuck(tmp_path)
    [envelope] = await sealed(KEY, "default")
    payload = reference(driver.put(b""))
    with serving(KEY, ServerConfig(request_timeout=0.3, max_concurrent_kms=1), driver) as server:
        response = server.post("/decode", [payload, envelope, payload])
        assert returned(response) == [payload, PLAIN, payload]
        assert response.headers["x-envelope-failed"] == "2"
        refused(server.post("/download", [payload]), 503, "storage_unavailable")


def make_storage() -> ExternalStorage:
    return ExternalStorage(drivers=[Folder(Path())])


def test_storage_is_named_in_the_settings() -> None:
    config = EnvelopeConfig(key=KEY)
    for name, said in [
        ("no_such_module:x", "can't be loaded: ModuleNotFoundError"),
        (f"{__name__}:nothing", "can't be loaded: AttributeError"),
        (f"{__name__}:Path", "is no ExternalStorage and no StorageDriver"),
        (f"{__name__}:Folder", "can't be loaded: TypeError"),
    ]:
        with pytest.raises(ConfigurationError, match=f"server.storage: .*{said}"):
            create_app(config, ServerConfig(storage=name))
    app = create_app(config, ServerConfig(storage=f"{__name__}:make_storage"))
    assert app.service.stores is not None
    assert set(app.service.stores.drivers) == {"folder"}
    app.service.stop()


async def test_the_configured_datastore_is_read_without_more_ado(tmp_path: Path) -> None:
    """The same settings as the workers': what they stored is decoded and downloaded, and left where that is asked."""
    with EnvelopePlugin(KEY, storage=f"file://{tmp_path}", storage_threshold=0) as plugin:
        client = await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin])
        [reference] = await client.data_converter.encode(["stored at home"])
    assert reference.metadata["messageType"] == ExternalStorageReference.DESCRIPTOR.full_name.encode()
    config = EnvelopeConfig(key=KEY, storage=f"file://{tmp_path}")
    with serving(config) as server:
        [decoded] = returned(server.post("/decode", [reference]))
        assert decoded.data == b'"stored at home"'
        assert returned(server.post("/download", [reference])) == [decoded]
        assert returned(server.post(f"/decode{KEEP}", [reference])) == [decoded]  # it is small


def lose_payloads(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "audit":
            file.unlink()


async def test_small_stored_payloads_are_shown_where_references_are_kept(tmp_path: Path) -> None:
    with EnvelopePlugin(KEY, storage=f"file://{tmp_path}", storage_threshold=0) as plugin:
        client = await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin])
        small, large = await client.data_converter.encode(["stored at home", "x" * 70_000])
    config = EnvelopeConfig(key=KEY, storage=f"file://{tmp_path}")
    with serving(config, ServerConfig(audit_file=str(tmp_path / "audit"))) as server:
        shown, kept = returned(server.post(f"/decode{KEEP}", [small, large]))
        assert (shown.data, kept) == (b'"stored at home"', large)
        assert (server.lines()[-1]["opened"], server.lines()[-1]["passed"]) == (1, 1)
        [shown] = returned(server.post("/download", [kept]))
        assert len(shown.data) == 70_002
    with serving(config, ServerConfig(inline_below=0)) as server:
        assert returned(server.post(f"/decode{KEEP}", [small])) == [small]
    rules = [{"namespaces": "another"}]
    with serving(config, ServerConfig(rules=rules)) as server:
        for reference in small, large:
            refused(server.post(f"/decode{KEEP}", [reference]), 403, "not_allowed")
    lose_payloads(tmp_path)
    with serving(config) as server:
        lost = server.post(f"/decode{KEEP}", [small, large])
        assert returned(lost) == [small, large]
        assert lost.headers["x-envelope-failed"] == "1"


class Slow(Folder):
    """Counts the bytes that come at once, and gives them once it is let."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.coming = self.most = 0

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        found = await super().retrieve(context, claims)
        self.coming += len(found[0].data)
        self.most = max(self.most, self.coming)
        await asyncio.sleep(0.05)
        self.coming -= len(found[0].data)
        return found


async def test_what_references_lead_to_counts_before_it_comes(tmp_path: Path) -> None:
    driver = Slow(tmp_path)
    [large] = await sealed(KEY, "default", Payload(data=b"x" * 2**20))
    payload = reference(driver.put(large.SerializeToString()))
    payload.external_payloads[0].size_bytes = len(large.data)
    small = ServerConfig(body_limit="2MiB", max_body_bytes="8MiB", max_body_bytes_per_caller="4MiB")
    with serving(KEY, small, driver) as server:
        response = server.post("/decode", [payload] * 12)
        opened = [found for found in returned(response) if len(found.data) == 2**20]
        assert (len(opened), response.headers["x-envelope-failed"]) == (3, "9")
        assert driver.most <= 4 * 2**20
        assert driver.retrieved == 3
        assert returned(server.post("/decode", [payload])) == opened[:1]
        # What leads to nothing takes nothing for long.
        lost = reference(StorageDriverClaim(claim_data={"name": "lost"}))
        assert returned(server.post("/decode", [*[lost] * 60, payload]))[-1] == opened[0]
        until(lambda: server.service.admission._bytes.used == 0)


async def test_claims_that_nobody_sealed_are_asked_for_like_any_record(tmp_path: Path) -> None:
    key = FakeKms("fakekms://k")
    config = EnvelopeConfig(key=key, storage=f"file://{tmp_path}")
    with EnvelopePlugin(key, storage=f"file://{tmp_path}", storage_threshold=0) as plugin:
        client = await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin])
        [genuine] = await client.data_converter.encode(["stored at home"])
    driver = json.loads(genuine.data)["driverName"]
    claims = []
    for number in range(20):
        head = record_head(Purpose.WRAPPING_KEY, number, {"temporal-namespace": "default"})
        record = build_record(head, os.urandom(32), [Recipient("fakekms://k", "1", b"\0" * 60)])
        made_up = Payload(metadata={**record.metadata, NAME_DATA_KEY: os.urandom(40)}, data=os.urandom(60))
        claim = {"envelope": b64encode(made_up.SerializeToString()).decode()}
        claims.append(reference(StorageDriverClaim(claim_data=claim), driver))
    with serving(config, ServerConfig(refused_rate_limit="5/day", max_concurrent_kms_per_caller=1)) as server:
        before = key.unwraps
        refused(server.post("/decode", claims), 429, "too_many_refused")
        assert key.unwraps - before == 5
        until(lambda: server.service.opener._single._keys._turns.taken == 0)


def test_a_store_that_fails_is_logged_so_often_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lost = [reference(StorageDriverClaim(claim_data={"name": f"lost-{n}"})) for n in range(200)]
    with serving(KEY, ServerConfig(), Folder(tmp_path)) as server:
        refused(server.post("/decode", lost), 503, "storage_unavailable")
    assert 1 <= caplog.text.count("the store 'folder' failed") <= 20


async def test_what_compressed_payloads_yield_counts_before_it_is_decompressed(tmp_path: Path) -> None:
    """A small request that yields 12 MiB gets what its caller may have, and the rest comes back sealed."""
    text = Payload(data=b"".join(b"%07d lamps, " % number for number in range(70_000)))
    [one] = await sealed(EnvelopeConfig(key=KEY, compression="zstd"), "default", text)
    small = ServerConfig(
        body_limit="2MiB", max_body_bytes="16MiB", max_body_bytes_per_caller="4MiB", audit_file=str(tmp_path / "audit")
    )
    with serving(KEY, small) as server:
        response = server.post("/decode", [one] * 12)
        opened = [found for found in returned(response) if found == text]
        failed = int(response.headers["x-envelope-failed"])
        assert len(opened) + failed == 12
        assert 1 <= len(opened) <= 4 * 2**20 // text.ByteSize()
        assert server.lines()[-1]["failed"] == {"TooManyBytes": failed}
        assert returned(server.post("/decode", [one])) == [text], "its bytes were given back"
        assert server.service.admission._bytes.used == 0


async def test_a_payload_that_no_budget_allows_is_refused_in_words() -> None:
    text = Payload(data=b"".join(b"%07d lamps, " % number for number in range(200_000)))
    [one] = await sealed(EnvelopeConfig(key=KEY, compression="zstd"), "default", text)
    small = ServerConfig(body_limit="1MiB", max_body_bytes="2MiB", max_body_bytes_per_caller="2MiB")
    with serving(KEY, small) as server:
        response = server.post("/decode", [one])
        assert response.status_code == 429
        assert response.json()["error"] == "too_many_bytes"
        assert response.json()["message"] == "What the payloads hold is too large together. Ask for less at once."
