"""Rules for a bucket: whose it is, and how what is put there is encrypted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from envelope_codec.cli.store_hint import store_hint
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreRefused
from envelope_codec.keystore_role import Role
from envelope_codec.keystores.dynamodb import DynamoDbKeystore
from envelope_codec.keystores.s3 import S3Keystore
from envelope_codec.storage.s3 import S3Store
from tests.support.aws_service import AwsService
from tests.support.s3_replies import S3Replies

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = "arn:aws:iam::111122223333:role/worker"
OWNER, SSE, SSE_KEY = (
    "x-amz-expected-bucket-owner",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.mark.parametrize("opener", [S3Store, S3Keystore])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("bucket_owner=me", "bucket_owner='me' must be an AWS account"),
        ("sse=AES-256", "sse='AES-256' must be one of AES256, aws:kms"),
        (f"sse_key={KEY}", "sse_key needs sse=aws:kms"),
        (f"sse=AES256&sse_key={KEY}", "sse_key needs sse=aws:kms"),
        ("sse=aws:kms&sse_key=my%20key", "sse_key='my key' must be a KMS key's ARN"),
    ],
)
def test_a_wrong_option_is_refused_by_name(opener: Callable[[str], object], options: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opener(f"s3://bucket?{options}")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("", [None, None, None]),
        ("sse=AES256", [None, "AES256", None]),
        ("sse=aws:kms", [None, "aws:kms", None]),
        (f"bucket_owner=111122223333&sse=aws:kms&sse_key={KEY}", ["111122223333", "aws:kms", KEY]),
    ],
)
async def test_each_request_keeps_the_rules(options: str, sent: list[str | None]) -> None:
    with AwsService().running() as service:
        url = f"s3://bucket/p?addressing=path&endpoint={service.endpoint}&{options}"
        store, keystore = S3Store(url), S3Keystore(url)
        for work in (store.put("0" * 32, b"data"), keystore.put(bytes(32), b"row", None)):
            with suppress(EnvelopeError):
                await work
        puts = list(service.headers)
        reads: list[Awaitable[object]] = [store.get("0" * 32), store.delete("0" * 32), keystore.get(bytes(32))]
        reads.append(first(store.list_before(1.0)))
        for read in reads:
            with suppress(EnvelopeError):
                await read
        assert [[headers.get(name) for name in (OWNER, SSE, SSE_KEY)] for headers in puts] == [sent] * 2
        others = service.headers[2:]
        assert [[headers.get(name) for name in (OWNER, SSE, SSE_KEY)] for headers in others] == (
            [[sent[0], None, None]] * len(reads)
        )
        await store.close()
        await keystore.close()


async def first(listing: AsyncIterator[object]) -> None:
    await listing.__anext__()


@pytest.mark.parametrize(
    ("code", "status", "message", "says", "to_do"),
    [
        ("AccessDenied", 403, "Access Denied", "bucket_owner", "correct the option"),
        (
            "AccessDenied",
            403,
            "not authorized to perform: kms:GenerateDataKey",
            "KMS key is missing",
            "GenerateDataKey",
        ),
        ("KMS.NotFoundException", 400, "Invalid keyId", "of another region", "in the bucket's region"),
    ],
)
async def test_what_s3_refuses_is_told_with_the_fix(
    code: str, status: int, message: str, says: str, to_do: str
) -> None:
    with S3Replies().running() as replies:
        replies.status, replies.code, replies.message = status, code, message
        rules = f"bucket_owner=111122223333&sse=aws:kms&sse_key={KEY}"
        store = S3Store(f"s3://bucket/p?addressing=path&endpoint={replies.endpoint}&{rules}")
        with pytest.raises(StoreRefused, match=says) as caught:
            await store.put("0" * 32, b"data")
        await store.close()
    assert "1111" not in str(caught.value)
    assert to_do in store_hint("s3", caught.value, writes=True)


def policies(text: str) -> list[list[tuple[list[str], str]]]:
    """Return what each policy in ``text`` allows."""
    found, decoder, rest = [], json.JSONDecoder(), text
    while "{" in rest:
        rest = rest[rest.index("{") :]
        policy, end = decoder.raw_decode(rest)
        found.append([(statement["Action"], statement["Resource"]) for statement in policy["Statement"]])
        rest = rest[end:]
    return found


async def test_a_policy_has_what_the_options_need() -> None:
    plain = S3Keystore("s3://bucket/p")
    assert len(policies(plain.grants(Role.seal))) == 1
    assert "kms" not in plain.grants(Role.seal)
    keyed = S3Keystore(f"s3://bucket/p?sse=aws:kms&sse_key={KEY}&role={ROLE}")
    seals, assumes = policies(keyed.grants(Role.seal))
    assert seals[-1] == (["kms:Decrypt", "kms:GenerateDataKey"], KEY)
    assert assumes == [(["sts:AssumeRole"], ROLE)]
    assert policies(keyed.grants(Role.open))[0][-1] == (["kms:Decrypt"], KEY)
    unnamed = S3Keystore("s3://bucket/p?sse=aws:kms&sse_key=alias/rows")
    assert policies(unnamed.grants(Role.open))[0][-1][1] == "arn:aws:kms:REGION:ACCOUNT:key/ID"
    table = DynamoDbKeystore(f"dynamodb://rows?role={ROLE}")
    assert policies(table.grants(Role.open))[1] == [(["sts:AssumeRole"], ROLE)]
    for keystore in (plain, keyed, unnamed, table):
        await keystore.close()
