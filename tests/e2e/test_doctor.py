"""``envelope-codec doctor`` finds what is wrong with real master keys, and with the histories of a real Temporal."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from devstack import GcpKmsServer, LocalStack, OpenBao, TemporalServer, ValkeyServer
from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec import EnvelopeConfig, NamespaceKeys
from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.connection import load_connection
from envelope_codec.cli.doctor.diagnosis import Request, diagnose
from envelope_codec.cli.doctor.finding import Code, Finding
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.testing.listeners import silent_port
from tests.support.harness_aws import AwsHarness
from tests.support.harness_gcp import GcpHarness
from tests.support.harness_vault import VaultHarness
from tests.support.server_records import eventually
from tests.support.small_workflows import Hello


class Told(NamedTuple):
    """What the doctor says, as a JSON document, and its exit status."""

    status: int
    document: Any

    def problems(self, namespace: str) -> dict[str, str]:
        """What to do about each problem with this namespace's key, by code."""
        return {
            finding["code"]: f"{finding['text']}; {finding['fix']}; {finding['words']}"
            for finding in self.document["findings"]
            if finding["level"] == "problem"
            and finding["subject"]
            in (f"namespaces.{namespace}.key", f"namespaces.{namespace}.key, namespace {namespace}")
        }

    def outcomes(self, namespace: str) -> tuple[str | None, str | None]:
        """Of wrap and unwrap."""
        (key,) = [key for key in self.document["keys"] if key["namespace"] == namespace]
        wrap, unwrap = (key[operation] and key[operation]["outcome"] for operation in ("wrap", "unwrap"))
        return wrap, unwrap


def examined(folder: Path, keys: dict[str, str], *options: str, settings: str = "", more: str = "") -> Told:
    """Have the doctor examine a file with these keys, by namespace. ``more`` goes on with the last one's."""
    file = folder / "envelope.toml"
    entries = [f"[namespaces.{namespace}]\nkey = {json.dumps(key)}\n" for namespace, key in keys.items()]
    file.write_text("require_encryption = true\n" + settings + "".join(entries) + more)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "VAULT_"))}
    done = subprocess.run(
        [sys.executable, "-m", "envelope_codec.cli", "doctor", "--config", str(file), "--json", *options],
        capture_output=True,
        text=True,
        timeout=100,
        env={**environment, "HOME": str(folder)},
        check=False,
    )
    assert done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    return Told(done.returncode, json.loads(done.stdout))


@pytest.fixture
def aws(localstack: LocalStack) -> Iterator[AwsHarness]:
    harness = AwsHarness(localstack)
    yield harness
    harness.close()


@pytest.fixture
def vault(openbao: OpenBao) -> Iterator[VaultHarness]:
    harness = VaultHarness(openbao)
    yield harness
    harness.close()


def test_keys_of_aws_kms(aws: AwsHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aws").write_text("[profile empty]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    good, disabled, deleted = (aws.create_key() for _ in range(3))
    aws.disable(disabled)
    aws.schedule_deletion(deleted)
    missing = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    arn = good.removeprefix("awskms:///").partition("?")[0]
    alias = f"alias/doctor-{os.urandom(4).hex()}"
    aws.client().create_alias(AliasName=alias, TargetKeyId=arn)
    told = examined(
        tmp_path,
        {
            "good": good,
            "alias": aws.uri(f"{arn.partition(':key/')[0]}:{alias}"),
            "disabled": disabled,
            "deleted": deleted,
            "elsewhere": good.replace("us-east-1", "eu-west-1"),
            "missing": aws.uri(missing),
            "unreachable": aws.uri(arn).replace(aws.endpoint.rpartition(":")[2], "1"),
            "stranger": aws.uri(arn, profile="empty"),
        },
    )
    assert told.status == 1
    assert told.outcomes("good") == told.outcomes("alias") == ("ok", "ok")
    assert told.problems("good") == told.problems("alias") == {}
    assert "enable it (aws kms enable-key)" in told.problems("disabled")["wrap-denied"]
    assert "DisabledException" in told.problems("disabled")["wrap-denied"]
    assert "cancel its deletion" in told.problems("deleted")["wrap-denied"]
    for namespace in ("elsewhere", "missing"):
        assert told.outcomes(namespace) == ("KeyDenied", None)
        assert "in the region and account that the ARN names" in told.problems(namespace)["wrap-denied"]
    assert "check the network from here to the KMS" in told.problems("unreachable")["wrap-unavailable"]
    assert "give credentials as to any AWS tool: AWS_PROFILE" in told.problems("stranger")["wrap-unavailable"]


def test_keys_of_vault(vault: VaultHarness, tmp_path: Path) -> None:
    good, seals_only, revoked = (vault.create_key() for _ in range(3))
    seals, mount = key_and_mount(seals_only)
    vault._root.sys.create_or_update_policy(seals, f'path "{mount}/encrypt/{seals}" {{ capabilities = ["update"] }}')
    token_file = Path(vault._folder.name, key_and_mount(revoked)[0])
    token = token_file.read_text().strip()
    vault._root.auth.token.revoke(token)
    told = examined(
        tmp_path,
        {
            "good": good,
            "seals": seals_only,
            "revoked": revoked,
            "tokenless": good.partition("&auth=")[0] + "&auth=token",
            "missing": good.replace("hashivault://key-", "hashivault://kye-"),
        },
    )
    assert told.status == 1
    assert told.outcomes("good") == ("ok", "ok")
    assert told.problems("good") == {}
    assert told.outcomes("seals") == ("ok", "KeyDenied")
    policy = f'add to the token\'s policies: path "{mount}/decrypt/{seals}" {{ capabilities = ["update"] }}'
    assert policy in told.problems("seals")["unwrap-denied"]
    assert "log in again" in told.problems("revoked")["wrap-unavailable"]
    assert "set VAULT_TOKEN" in told.problems("tokenless")["provider-unusable"]
    assert "wrap-denied" in told.problems("missing")
    for secret in (token, *(file.read_text().strip() for file in Path(vault._folder.name).iterdir())):
        assert secret not in json.dumps(told.document)


def key_and_mount(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.netloc, parse_qs(parts.query)["mount"][0]


def test_keys_of_gcp_kms(gcp_kms_server: GcpKmsServer, tmp_path: Path) -> None:
    gcp = GcpHarness(gcp_kms_server)
    good, disabled = gcp.create_key(), gcp.create_key()
    gcp.disable(disabled)
    told = examined(
        tmp_path, {"good": good, "disabled": disabled, "missing": good.replace("/cryptoKeys/key-", "/cryptoKeys/kye-")}
    )
    assert told.status == 1
    assert told.outcomes("good") == ("ok", "ok")
    assert told.problems("good") == {}
    assert "enable or restore its primary version" in told.problems("disabled")["wrap-denied"]
    assert "check the resource name" in told.problems("missing")["wrap-denied"]


# Datastores


def test_datastores_that_run_and_that_do_not(run_server: Any, tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    keys = {"good": key_uri(tmp_path / "key.json")}
    with run_server(ValkeyServer()) as server:
        url = server.url
        running = examined(tmp_path, keys, settings=f'storage = "{url}"\nformer_storage = ["{url}?name=old"]\n')
    assert (running.status, running.document["findings"]) == (0, [])
    assert [(one["name"], one["role"], one["outcome"]) for one in running.document["stores"]] == [
        ("envelope-redis", "storage", "ok"),
        ("old", "former_storage", "ok"),
    ]
    stopped = examined(tmp_path, keys, settings=f'storage = "{url.replace("//", "//:sesame@")}"\n')
    assert stopped.status == 1
    assert stopped.outcomes("good") == ("ok", "ok")
    (finding,) = stopped.document["findings"]
    assert (finding["code"], finding["subject"]) == ("store-unavailable", "envelope-redis")
    assert finding["fix"].startswith("check that it runs, host and port in its URL")
    assert finding["words"] == "Redis put failed: ConnectionError"
    assert "sesame" not in json.dumps(stopped.document)
    assert "127.0.0.1" not in json.dumps(stopped.document)


def test_datastores_that_never_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with silent_port() as address:
        urls = [
            f"redis://{address}/0",
            f"s3://bucket?endpoint=http://{address}&region=us-east-1&addressing=path",
            f"postgresql://user:sesame@{address}/db",
            f"mongodb://{address}/db?serverSelectionTimeoutMS=300000",
        ]
        # No client of these gives up in that time.
        settings = f'storage = "{urls[0]}"\nformer_storage = {json.dumps(urls[1:])}\n'
        told = examined(tmp_path, {"none": "what://k"}, "--timeout", "4", settings=settings)
    names = {"envelope-redis", "envelope-s3", "envelope-postgresql", "envelope-mongodb"}
    late = {one["subject"] for one in told.document["findings"] if one["code"] == "no-answer-in-time"}
    assert (told.status, late) == (1, names)
    assert {(one["name"], one["outcome"]) for one in told.document["stores"]} == {(name, None) for name in names}
    assert address not in json.dumps(told.document)


# Histories


@workflow.defn(sandboxed=False)
class Fail:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("marigold")


@pytest.fixture
async def namespaces(plain: Client, name: str) -> tuple[str, str]:
    """Two new namespaces."""
    made = f"sealed-{name}", f"plain-{name}"
    for namespace in made:
        retention = Duration(seconds=86_400)
        await plain.workflow_service.register_namespace(
            RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=retention)
        )

        async def known(namespace: str = namespace) -> bool | None:
            try:
                await plain.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
            except RPCError:
                return None
            return True

        await eventually(known, "the namespace")
    return made


async def run_in(client: Client, name: str) -> None:
    """One workflow that completes, and one that fails."""
    async with Worker(client, task_queue=name, workflows=[Hello, Fail], workflow_runner=UnsandboxedWorkflowRunner()):
        timeout = timedelta(seconds=100)
        await client.execute_workflow(Hello.run, "Ada", id="hello", task_queue=name, execution_timeout=timeout)
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Fail.run, id="fail", task_queue=name, execution_timeout=timeout)


async def test_histories_of_temporal(
    temporal_server: TemporalServer,
    connect: Any,
    namespaces: tuple[str, str],
    vault: VaultHarness,
    tmp_path: Path,
    name: str,
) -> None:
    sealed, plain = namespaces
    create_key_file(tmp_path / "key.json")
    uri, retired = key_uri(tmp_path / "key.json"), vault.create_key()
    client, _ = await connect(uri, namespace=sealed)
    await run_in(client, name)
    before, _ = await connect(retired, namespace=sealed)
    await before.start_workflow(Hello.run, "a secret", id="before", task_queue="nobody's")
    key, mount = key_and_mount(retired)
    vault._root.sys.create_or_update_policy(key, f'path "{mount}/decrypt/{key}" {{ capabilities = ["update"] }}')
    unsealed = await Client.connect(temporal_server.address, namespace=plain)
    await run_in(unsealed, name)
    for namespace, count in ((sealed, 3), (plain, 2)):
        lister = await Client.connect(temporal_server.address, namespace=namespace)

        async def listed(lister: Client = lister, count: int = count) -> bool:
            return len([execution async for execution in lister.list_workflows()]) == count

        await eventually(listed, "the workflows")

    both, without, missing = await asyncio.gather(
        asyncio.to_thread(
            examined,
            tmp_path,
            {plain: uri, sealed: uri},
            *("--address", temporal_server.address),
            more=f"decrypt_keys = {json.dumps([retired])}\n",
        ),
        diagnosed(temporal_server, sealed, uri),
        diagnosed(temporal_server, "nowhere", uri),
    )

    assert both.status == 1
    counts = {one["namespace"]: one for one in both.document["histories"]}
    envelopes = counts[sealed]["envelopes"]
    assert (counts[sealed]["histories"], counts[sealed]["records"]) == (3, 2)
    assert envelopes == counts[sealed]["payloads"] >= 4
    assert counts[sealed]["clear"] == counts[sealed]["failures_in_clear"] == counts[plain]["envelopes"] == 0
    assert counts[plain]["clear_by_encoding"] == {"json/plain": 2}
    assert counts[plain]["failures_in_clear"] == 1
    found = {(finding["code"], finding["subject"]) for finding in both.document["findings"]}
    assert found == {
        ("payloads-in-clear", plain),
        ("require-encryption-too-early", "require_encryption"),
        ("failures-in-clear", plain),
    }
    assert "marigold" not in json.dumps(both.document)
    # The key that may not wrap any more has opened a payload of the history.
    (proof,) = [key for key in both.document["keys"] if key["setting"].endswith("decrypt_keys[0]")]
    assert (proof["wrap"]["outcome"], proof["unwrap"]["outcome"]) == ("KeyDenied", "ok")
    assert proof["unwrapped_record_of_history"] is True

    (unconfigured,) = without
    assert (unconfigured.code, unconfigured.subject) == (Code.key_not_configured, sealed)
    assert unconfigured.text.startswith("1 envelope in")
    assert key in unconfigured.text
    assert [(finding.code, finding.subject) for finding in missing] == [(Code.namespace_missing, "nowhere")]


async def diagnosed(server: TemporalServer, namespace: str, key: str) -> list[Finding]:
    """What is found in one namespace with this key."""
    config = EnvelopeConfig(namespaces={namespace: NamespaceKeys(key=key)}, require_encryption=True)
    target = load_connection(server.address, None, {})
    calls = Calls()
    with quiet_logs() as words:
        request = Request(Configuration(config, "a test"), [namespace], True, target)
        diagnosis = await diagnose(request, Deadline(60), calls, words)
    assert not calls.hang
    return diagnosis.findings
