"""The client of boto3: how it is made, and what a forked child does with it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from envelope_codec import ConfigurationError
from envelope_codec.datastore.s3_client import Boto3Client, _checksum_settings, make_client


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.parametrize(
    ("endpoint", "sends"),
    [
        (None, True),
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("http://127.0.0.1:9000", False),
        ("https://amazonaws.com.example", False),
    ],
)
def test_checksums_go_to_amazon_only(endpoint: str | None, sends: bool) -> None:
    assert (_checksum_settings({"endpoint": endpoint} if endpoint else {}) == {}) is sends


def test_wrong_options_are_named() -> None:
    for options in ({"addressing": "sideways"}, {"endpoint": "no URL"}, {"profile": "missing"}):
        with pytest.raises(ConfigurationError, match="no client for s3:// can be made"):
            make_client({"region": "us-east-1", **options})


class Recorded:
    """Stands for boto3's client: botocore has one class for each service, made as it is needed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = 0

    def head_object(self, **_: Any) -> None:
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


async def test_a_missing_object_does_not_exist_and_another_error_is_one() -> None:
    def client(code: str | None) -> Boto3Client:
        error = ClientError({"Error": {"Code": code}}, "HeadObject") if code else None
        return Boto3Client(Recorded(error))  # type: ignore[arg-type]

    assert await client(None).object_exists(bucket="b", key="k")
    assert not await client("404").object_exists(bucket="b", key="k")
    with pytest.raises(ClientError):
        await client("403").object_exists(bucket="b", key="k")


async def test_closing_releases_connections() -> None:
    recorded = Recorded()
    Boto3Client(recorded).close()  # type: ignore[arg-type]
    assert recorded.closed == 1
