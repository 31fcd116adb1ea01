"""One hostile record: how many KMS calls it makes, whatever it names, of a reader that uses the same master key."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import boto3
from botocore.exceptions import ClientError
from temporalio.api.common.v1 import Payload

from benchmarks.hostile_figure import Figure
from envelope_codec import EnvelopeCodec, EnvelopeConfig, EnvelopeError
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, build_record, record_head
from envelope_codec_aws import AwsKms

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
REPLICA = "arn:aws:kms:{}:" + ACCOUNT + ":key/mrk-1234abcd12ab34cd56ef1234567890ab"
ALIAS = f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/payloads"
REGIONS = ("us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1", "eu-west-2", "eu-central-1", "ap-south-1")
MADE_UP = [f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-{number:012x}" for number in range(8)]
HOSTILE = bytes(180)


class Aws:
    """A KMS client that counts. It wraps and unwraps for ``key``, and refuses what is hostile."""

    def __init__(self, key: str, *, describes: bool = True) -> None:
        session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="y", region_name="us-east-1")
        self.meta = session.client("kms").meta
        self.calls = 0
        self._key = key
        self._describes = describes

    def encrypt(self, *, Plaintext: bytes, **_: Any) -> dict[str, Any]:
        return {"KeyId": self._key, "CiphertextBlob": Plaintext}

    def decrypt(self, *, KeyId: str, CiphertextBlob: bytes, **_: Any) -> dict[str, Any]:
        self.calls += 1
        if CiphertextBlob == HOSTILE:
            raise _refused("Decrypt")
        return {"KeyId": KeyId, "Plaintext": CiphertextBlob}

    def describe_key(self, **_: Any) -> dict[str, Any]:
        self.calls += 1
        if not self._describes:
            raise _refused("DescribeKey")
        return {"KeyMetadata": {"Arn": self._key}}


def _refused(operation: str) -> ClientError:
    reply: Any = {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(reply, operation)


def naming(key_ids: Sequence[str]) -> Payload:
    """A hostile envelope with these recipients."""
    head = record_head(Purpose.WRAPPING_KEY, 0, {"temporal-namespace": "default"})
    record = build_record(head, os.urandom(32), [Recipient(key_id, "", HOSTILE) for key_id in key_ids])
    return Payload(metadata={**record.metadata, NAME_DATA_KEY: os.urandom(40)}, data=os.urandom(60))


async def calls(client: Aws, arn: str, key_ids: Sequence[str], accounts: Sequence[str]) -> int:
    """Calls for one hostile record, those that it causes in the background included."""
    master = AwsKms(arn, client=client, decrypt_accounts=accounts)  # type: ignore[arg-type]
    codec = EnvelopeCodec(EnvelopeConfig(key=master, timeout=5))
    await codec.decode(await codec.encode([Payload(data=b"honest")]))
    before = client.calls
    with suppress(EnvelopeError):
        await codec.decode([naming(key_ids)])
    await asyncio.sleep(0.3)
    codec.close()
    return client.calls - before


async def figures() -> list[Figure]:
    """Two at most: one for each master key, and a renewal that the refusal brings forward."""
    logging.disable(logging.CRITICAL)
    replicas = [REPLICA.format(region) for region in REGIONS]
    cases: dict[str, tuple[Aws, str, list[str], list[str]]] = {
        "a key, named once": (Aws(KEY), KEY, [KEY], []),
        "a multi-Region key, named by eight replicas": (Aws(replicas[0]), replicas[0], replicas, []),
        "an alias, eight made-up keys": (Aws(KEY), ALIAS, MADE_UP, []),
        "an alias that may not be looked up, eight made-up keys": (Aws(KEY, describes=False), ALIAS, MADE_UP, []),
        "an alias with decrypt_accounts, eight made-up keys": (Aws(KEY), ALIAS, MADE_UP, [ACCOUNT]),
    }
    found = [Figure(f"KMS calls for one record: {name}", await calls(*case), "", 2) for name, case in cases.items()]
    logging.disable(logging.NOTSET)
    return found
