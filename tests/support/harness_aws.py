"""AWS KMS for the conformance suite: LocalStack's keys, asked by `AwsKms`."""

from __future__ import annotations

import os
from typing import Any, ClassVar
from urllib.parse import urlencode

import boto3
import pytest
from devstack import LocalStack

from envelope_codec.kms import KeyUri, MasterKey, master_key, parse_key_uri
from envelope_codec_aws._facts import FACTS
from tests.support.watch import AWS_SECRET

REGION = "us-east-1"


class AwsHarness:
    name = "aws"
    tells_versions = False
    deviations: ClassVar = {
        "test_a_shifted_context_is_refused": (
            "LocalStack joins context names and values without a separator, so that two contexts that concatenate to "
            "the same text are one to it; AWS refuses"
        ),
    }

    def __init__(self, localstack: LocalStack) -> None:
        self.endpoint = localstack.endpoint
        self._environment = pytest.MonkeyPatch()
        # LocalStack takes any credentials; those that the developer is logged in with are never used.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            self._environment.delenv(name)
        self._environment.setenv("AWS_ACCESS_KEY_ID", "test")
        self._environment.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
        self._environment.setenv("AWS_CONFIG_FILE", os.devnull)
        self._environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    def close(self) -> None:
        self._environment.undo()

    def client(self, region: str = REGION) -> Any:
        """A KMS client for what only an administrator does."""
        return boto3.client("kms", region_name=region, endpoint_url=self.endpoint)

    def create_key(self) -> str:
        return self.uri(self.client().create_key()["KeyMetadata"]["Arn"])

    def uri(self, arn: str, **options: str) -> str:
        return f"awskms:///{arn}?{urlencode({'endpoint': self.endpoint, **options})}"

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> MasterKey:
        parsed = _parse(uri)
        options = dict(parsed.options)
        if endpoint is not None:
            options["endpoint"] = endpoint if "://" in endpoint else f"http://{endpoint}"
        if read_timeout is not None:
            options["read_timeout"] = str(read_timeout)
        return master_key(f"awskms:///{parsed.path}?{urlencode(options)}")

    def rotate(self, uri: str) -> None:
        self.client().rotate_key_on_demand(KeyId=_parse(uri).path)

    def disable(self, uri: str) -> None:
        self.client().disable_key(KeyId=_parse(uri).path)

    def enable(self, uri: str) -> None:
        self.client().enable_key(KeyId=_parse(uri).path)

    def schedule_deletion(self, uri: str) -> None:
        self.client().schedule_key_deletion(KeyId=_parse(uri).path, PendingWindowInDays=7)


def _parse(uri: str) -> KeyUri:
    return parse_key_uri(uri, scheme="awskms", options=frozenset(option.name for option in FACTS.options))
