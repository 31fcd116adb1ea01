"""Master keys of the wrong kind, as only a KMS can tell: the worker does not start, says why, and polls nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import hvac
import pytest
from devstack import GcpKmsServer, OpenBao
from temporalio.client import Client
from temporalio.worker import Worker

from envelope_codec import KeyDenied
from tests.support.real_master_keys import RealKms, quick_temporal, real_kms
from tests.support.server_records import events
from tests.support.signalled_workflows import records_in
from tests.support.small_workflow_load import Failures
from tests.support.small_workflows import Hello

servers = pytest.fixture(scope="module")(real_kms)
temporal_server = pytest.fixture(scope="module")(quick_temporal)

Make = Callable[..., str]
"""Makes a key with the options of the KMS's own API, and returns its URI."""


@pytest.fixture
def aws(servers: RealKms) -> Make:
    def make(**options: Any) -> str:
        uri: str = servers["aws"].uri(servers["aws"].client().create_key(**options)["KeyMetadata"]["Arn"])
        return uri

    return make


@pytest.fixture
def gcp(servers: RealKms, gcp_kms_server: GcpKmsServer) -> Make:
    assert servers["gcp"]
    from tests.support.harness_gcp import Purpose, google_client, new_key, uri_of

    def make(purpose: str) -> str:
        with google_client(gcp_kms_server.endpoint) as client:
            return uri_of(new_key(client, purpose=getattr(Purpose, purpose)), gcp_kms_server.endpoint)

    return make


@pytest.fixture
def vault(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("VAULT_ADDR", openbao.address)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)

    def make(**options: Any) -> str:
        name = f"key-{uuid4().hex}"
        hvac.Client(url=openbao.address, token=openbao.token).write_data(f"transit/keys/{name}", data=options)
        return f"hashivault://{name}"

    return make


NO_CONTEXT = "keys of this type can't bind a context: use aes256-gcm96 or chacha20-poly1305"
NOT_FOR_ENCRYPTION = "the key is disabled, destroyed, or not made for encryption"
NOT_MADE = "the key is not made for encryption and decryption"
# Not asked for: an asymmetric key made for encryption. AWS refuses it; LocalStack takes it for a symmetric one.
WRONG = [
    ("aws", {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}, NOT_MADE),
    ("aws", {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}, NOT_MADE),
    ("aws", {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, NOT_MADE),
    ("aws", {"Origin": "EXTERNAL"}, "the key is pending deletion or otherwise not usable"),
    ("gcp", {"purpose": "ASYMMETRIC_SIGN"}, NOT_FOR_ENCRYPTION),
    ("gcp", {"purpose": "ASYMMETRIC_DECRYPT"}, NOT_FOR_ENCRYPTION),
    ("gcp", {"purpose": "MAC"}, NOT_FOR_ENCRYPTION),
    ("vault", {"type": "ed25519"}, NO_CONTEXT),
    ("vault", {"type": "rsa-2048"}, NO_CONTEXT),
    ("vault", {"derived": True}, "derived and convergent keys can't be used: use one without derivation"),
]


@pytest.mark.parametrize(("kms", "options", "said"), WRONG, ids=str)
async def test_a_worker_with_a_key_of_the_wrong_kind_does_not_start(
    kms: str,
    options: dict[str, Any],
    said: str,
    servers: RealKms,
    request: pytest.FixtureRequest,
    connect: Any,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = request.getfixturevalue(kms)(**options)
    key_id = servers.key_id(uri)
    client, _ = await connect(uri)
    worker = Worker(client, task_queue=name, workflows=[Hello])
    with caplog.at_level(logging.ERROR, "envelope_codec"), pytest.raises(KeyDenied) as refused:
        await asyncio.wait_for(worker.run(), 20)
    assert said in str(refused.value)
    assert refused.value.key_id == key_id
    (line,) = [record.getMessage() for record in caplog.records if record.name == "envelope_codec"]
    assert line.startswith("the worker can't start: ")
    assert said in line
    assert key_id in line


@pytest.mark.parametrize(
    ("kms", "options"),
    [
        ("aws", {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}),
        ("gcp", {"purpose": "ASYMMETRIC_SIGN"}),
        ("vault", {"derived": True}),
    ],
    ids=str,
)
async def test_a_backup_key_of_the_wrong_kind_is_told_and_left_out(
    kms: str,
    options: dict[str, Any],
    servers: RealKms,
    request: pytest.FixtureRequest,
    connect: Any,
    plain: Client,
    name: str,
) -> None:
    uri, backup, failures = servers.create_key("local"), request.getfixturevalue(kms)(**options), Failures()
    client, _ = await connect(uri, backup_keys=[backup], observer=failures)
    async with Worker(client, task_queue=name, workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, "Ada", id=name, task_queue=name) == "Hello, Ada!"
    records = records_in(await events(plain, name))
    assert {one.key_id for record in records for one in record.recipients} == {servers.key_id(uri)}
    assert {(one.operation, one.outcome, one.key_id) for one in failures} == {
        ("wrap", "KeyDenied", servers.key_id(backup))
    }
