"""Options of an S3 URL that LocalStack heeds: role and encryption. It does not compare the bucket's owner."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import boto3
import pytest
from devstack import LocalStack

from envelope_codec.storage.s3 import S3Store
from tests.support.harness_aws import REGION, AwsHarness

ID = "0" * 32
OWN = "000000000000"


@pytest.fixture(scope="module")
def aws(localstack: LocalStack) -> Iterator[AwsHarness]:
    harness = AwsHarness(localstack)
    yield harness
    harness.close()


@pytest.fixture(scope="module")
def s3(aws: AwsHarness) -> Any:
    return boto3.client("s3", region_name=REGION, endpoint_url=aws.endpoint)


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    name = f"options-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


@asynccontextmanager
async def opened(aws: AwsHarness, bucket: str, options: str) -> AsyncIterator[S3Store]:
    store = S3Store(f"s3://{bucket}/p?region={REGION}&addressing=path&endpoint={aws.endpoint}&{options}")
    try:
        yield store
    finally:
        await store.close()


async def test_what_is_stored_is_encrypted_as_the_options_say(aws: AwsHarness, s3: Any, bucket: str) -> None:
    key = aws.client().create_key()["KeyMetadata"]["Arn"]
    for options, kind, by in (("sse=AES256", "AES256", None), (f"sse=aws:kms&sse_key={key}", "aws:kms", key)):
        async with opened(aws, bucket, f"{options}&bucket_owner={OWN}") as store:
            await store.put(ID, b"data")
            assert await store.get(ID) == b"data"
        head = s3.head_object(Bucket=bucket, Key=f"p/{ID}")
        assert (head["ServerSideEncryption"], head.get("SSEKMSKeyId")) == (kind, by)


async def test_a_role_is_assumed(aws: AwsHarness, bucket: str) -> None:
    role = f"role=arn:aws:iam::{OWN}:role/worker&sts_endpoint={aws.endpoint}"
    async with opened(aws, bucket, role) as store:
        await store.put(ID, b"data")
        assert await store.get(ID) == b"data"
