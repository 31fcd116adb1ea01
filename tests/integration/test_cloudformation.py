"""The CloudFormation template, brought up on LocalStack: who may do what, and that payloads go through key and bucket.

LocalStack checks no policy, gives a bucket no lifecycle, and rotates each key once a year. So the policies that it has
got are asked here, by the rules of AWS that they use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import boto3
import pytest
from devstack import LocalStack
from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import Purpose, kms_context
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec_aws._facts import FACTS
from tests.support.aws_policy import ResourcePolicy
from tests.support.harness_stores import aws_environment

TEMPLATE = Path(__file__).resolve().parents[2] / "deploy" / "cloudformation" / "envelope-codec.yaml"
ADMIN, WORKER, SERVER, COLLECTOR, STRANGER = (
    f"arn:aws:iam::000000000000:role/{name}" for name in ("admin", "worker", "server", "collector", "stranger")
)
_TLS = {"aws__SecureTransport": "true", "s3__TlsVersion": "1.3"}


class Stack:
    """A stack as it came up, and clients for what is in it."""

    def __init__(self, localstack: LocalStack, name: str, **parameters: str) -> None:
        self.endpoint = localstack.endpoint
        cloud = self.client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        cloud.create_stack(StackName=name, TemplateBody=TEMPLATE.read_text("utf-8"), Parameters=given)
        cloud.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        [made] = cloud.describe_stacks(StackName=name)["Stacks"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in made["Outputs"]}
        self.key, self.bucket = self.outputs["KeyUri"], self.outputs["Storage"].split("/")[2]

    def client(self, service: str) -> Any:
        make: Any = boto3.client  # whose types want each service's name spelled out
        return make(service, region_name="us-east-1", endpoint_url=self.endpoint)

    @property
    def key_policy(self) -> ResourcePolicy:
        kept = self.client("kms").get_key_policy(KeyId=self.key, PolicyName="default")
        return ResourcePolicy(json.loads(kept["Policy"]))

    @property
    def bucket_policy(self) -> ResourcePolicy:
        return ResourcePolicy(json.loads(self.client("s3").get_bucket_policy(Bucket=self.bucket)["Policy"]))


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.fixture(scope="module")
def cloud(run_server: Callable[[LocalStack], AbstractContextManager[LocalStack]]) -> Iterator[LocalStack]:
    with run_server(LocalStack(services=("cloudformation", "kms", "s3", "sts"))) as server:
        yield server


@pytest.fixture(scope="module")
def least(cloud: LocalStack) -> Stack:
    return Stack(cloud, "least", Namespaces="prod.acct", WorkerRoles=WORKER)


@pytest.fixture(scope="module")
def whole(cloud: LocalStack) -> Stack:
    return Stack(
        cloud,
        "whole",
        Namespaces="prod.acct,staging.acct",
        AdminRoles=ADMIN,
        WorkerRoles=WORKER,
        CodecServerRoles=SERVER,
        CollectorRoles=COLLECTOR,
        ShareWrappingKeys="true",
        MultiRegion="true",
        RotationDays="180",
        AliasName="payloads/key",
        StoragePrefix="sealed",
    )


def context(namespace: str = "prod.acct", purpose: Purpose = Purpose.WRAPPING_KEY) -> dict[str, str]:
    """What the library sends with a call, as keys of a condition."""
    sent = kms_context(purpose, [("temporal-namespace", namespace)], bytes(32))
    return {f"kms:EncryptionContext:{name}": value for name, value in sent.items()}


@pytest.mark.parametrize("which", ["least", "whole"])
def test_workers_seal_and_open_for_their_namespaces_alone(which: str, request: pytest.FixtureRequest) -> None:
    policy = request.getfixturevalue(which).key_policy
    for purpose in (Purpose.WRAPPING_KEY, Purpose.DATA_KEY):
        for action in ("kms:Encrypt", "kms:Decrypt"):
            assert policy.allows(WORKER, action, **context(purpose=purpose))
            assert not policy.allows(WORKER, action, **context("other.acct", purpose))
            assert not policy.allows(WORKER, action)
    for action in ("kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant"):
        assert not policy.allows(WORKER, action, **context())
    assert policy.allows(WORKER, "kms:DescribeKey")


def test_sharing_is_refused_unless_it_is_meant_as_doctor_advises(least: Stack, whole: Stack) -> None:
    shared = context(purpose=Purpose.SHARED_WRAPPING_KEY)
    assert not least.key_policy.allows(WORKER, "kms:Encrypt", **shared)
    assert whole.key_policy.allows(WORKER, "kms:Encrypt", **shared)
    advised = json.loads(FACTS.keep_from_sharing(least.key, {"temporal-namespace": "prod.acct"}) or "")
    [(name, value)] = advised["Condition"]["StringEquals"].items()
    assert shared[name] == value
    assert all(not least.key_policy.allows(WORKER, action, **shared) for action in advised["Action"])


def test_codec_servers_open_and_collectors_too_and_neither_seals(whole: Stack) -> None:
    policy = whole.key_policy
    for role in (SERVER, COLLECTOR):
        assert policy.allows(role, "kms:Decrypt", **context("staging.acct"))
        assert not policy.allows(role, "kms:Decrypt", **context("other.acct"))
        assert not policy.allows(role, "kms:Encrypt", **context())
        assert policy.allows(role, "kms:DescribeKey")


def test_administrators_use_no_key(least: Stack, whole: Stack) -> None:
    for stack, admin in ((least, "arn:aws:iam::000000000000:root"), (whole, ADMIN)):
        policy = stack.key_policy
        for action in ("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:RotateKeyOnDemand"):
            assert policy.allows(admin, action)
            assert not any(policy.allows(one, action) for one in (WORKER, SERVER, COLLECTOR, STRANGER))
        for action in ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:CreateGrant"):
            assert not policy.allows(admin, action, **context())
    assert not whole.key_policy.allows("arn:aws:iam::000000000000:root", "kms:PutKeyPolicy")


def test_objects_are_for_whom_they_are_meant(whole: Stack) -> None:
    policy = whole.bucket_policy
    inside, outside = f"arn:aws:s3:::{whole.bucket}/sealed/a", f"arn:aws:s3:::{whole.bucket}/other/a"
    may = {
        role: [
            action
            for action in ("Get", "Put", "Delete")
            if policy.allows(role, f"s3:{action}Object", inside, **_TLS)
            and not policy.allows(role, f"s3:{action}Object", outside, **_TLS)
        ]
        for role in (WORKER, SERVER, COLLECTOR, ADMIN, STRANGER)
    }
    assert may == {WORKER: ["Get", "Put"], SERVER: ["Get"], COLLECTOR: ["Get", "Delete"], ADMIN: [], STRANGER: []}
    listing = ("s3:ListBucket", f"arn:aws:s3:::{whole.bucket}")
    assert policy.allows(COLLECTOR, *listing, s3__prefix="sealed/", **_TLS)
    assert not policy.allows(COLLECTOR, *listing, s3__prefix="other/", **_TLS)
    assert not policy.allows(WORKER, *listing, s3__prefix="sealed/", **_TLS)


@pytest.mark.parametrize(
    "connection",
    [
        {"aws__SecureTransport": "false"},
        {"aws__SecureTransport": "true", "s3__TlsVersion": "1.1"},
    ],
)
def test_nothing_goes_to_the_bucket_without_today_s_tls(whole: Stack, connection: Mapping[str, str]) -> None:
    inside = f"arn:aws:s3:::{whole.bucket}/sealed/a"
    assert not whole.bucket_policy.allows(WORKER, "s3:GetObject", inside, **connection)


def test_the_bucket_is_private_keeps_versions_and_encrypts(least: Stack) -> None:
    s3 = least.client("s3")
    blocked = s3.get_public_access_block(Bucket=least.bucket)["PublicAccessBlockConfiguration"]
    assert len(blocked) == 4
    assert all(blocked.values())
    assert s3.get_bucket_versioning(Bucket=least.bucket)["Status"] == "Enabled"
    [owner] = s3.get_bucket_ownership_controls(Bucket=least.bucket)["OwnershipControls"]["Rules"]
    assert owner["ObjectOwnership"] == "BucketOwnerEnforced"
    [rule] = s3.get_bucket_encryption(Bucket=least.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_the_key_rotates_and_the_alias_leads_to_it(least: Stack, whole: Stack) -> None:
    for stack, regions in ((least, False), (whole, True)):
        kms = stack.client("kms")
        assert kms.get_key_rotation_status(KeyId=stack.key)["KeyRotationEnabled"]
        described = kms.describe_key(KeyId=stack.outputs["AliasUri"])["KeyMetadata"]
        assert (described["Arn"], described["MultiRegion"]) == (stack.key, regions)


@pytest.mark.parametrize("uri", ["KeyUri", "AliasUri"])
async def test_what_is_sealed_and_stored_with_the_outputs_opens(whole: Stack, uri: str) -> None:
    clear = Payload(metadata={"encoding": b"json/plain"}, data=b'"clear"')
    codec = EnvelopeCodec(f"awskms:///{whole.outputs[uri]}?endpoint={whole.endpoint}", namespace="prod.acct")
    store = parse_store_url(f"{whole.outputs['Storage']}&endpoint={whole.endpoint}&addressing=path").open()
    try:
        [sealed] = await codec.encode([clear])
        assert sealed.metadata["encryption-key-id"].decode() == whole.key
        await store.put("a" * 32, sealed.SerializeToString())
        assert await codec.decode([Payload.FromString(await store.get("a" * 32))]) == [clear]
    finally:
        await store.close()
        codec.close()
    kept = whole.client("s3").list_objects_v2(Bucket=whole.bucket)["Contents"]
    assert {one["Key"] for one in kept} == {f"sealed/{'a' * 32}"}
