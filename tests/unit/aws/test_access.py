"""As whom AWS is asked, and at which endpoints: alike for master keys, stores and keystores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from envelope_codec.aws.access import Access
from envelope_codec.aws.meanings import NO_ROLE
from envelope_codec.datastore.s3_client import make_client
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keystores.dynamodb import DynamoDbKeystore, _make_client
from envelope_codec.keystores.s3 import S3Keystore
from envelope_codec.storage.s3 import S3Store
from envelope_codec_aws import AwsKms
from tests.support.aws_service import AwsService

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = "arn:aws:iam::111122223333:role/worker"
OPENERS: dict[str, Callable[[str], object]] = {
    "kms": lambda options: AwsKms.from_uri(f"awskms:///{KEY}?{options}"),
    "store": lambda options: S3Store(f"s3://bucket?region=us-east-1&{options}"),
    "keystore": lambda options: S3Keystore(f"s3://bucket?region=us-east-1&{options}"),
    "dynamodb": lambda options: DynamoDbKeystore(f"dynamodb://table?region=us-east-1&{options}"),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Credentials, and no configuration but what the test writes."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


@pytest.fixture
def service() -> Iterator[AwsService]:
    with AwsService().running() as running:
        yield running


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("role=worker", "role='worker' must be an ARN"),
        ("external_id=id", "external_id needs role="),
        ("role_session_name=worker", "role_session_name needs role="),
        ("sts_endpoint=http://localhost", "sts_endpoint needs role="),
        (f"role={ROLE}&sts_endpoint=localhost", "sts_endpoint='localhost' must be http://HOST"),
        (f"role={ROLE}&external_id=a%0Ab", "external_id="),
        ("profile=nobody", "nobody"),
        ("fips=yes", "fips='yes' must be true or false"),
        ("fips=true&endpoint=http://localhost", "fips=true chooses among AWS's own endpoints, and endpoint names"),
        ("dualstack=true&endpoint=http://localhost", "dualstack=true chooses among AWS's own endpoints"),
        (f"fips=true&role={ROLE}&sts_endpoint=http://localhost", "and sts_endpoint names another"),
    ],
)
def test_a_wrong_option_is_refused_by_name(opener: str, options: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OPENERS[opener](options)
    assert says in str(caught.value)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"])
def test_an_endpoint_of_the_environment_does_not_go_with_fips(
    opener: str, name: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, "http://127.0.0.1:1")
    OPENERS[opener](f"role={ROLE}")
    with pytest.raises(ConfigurationError, match="the AWS configuration names another"):
        OPENERS[opener](f"role={ROLE}&fips=true")
    environment.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    OPENERS[opener](f"role={ROLE}&fips=true")


def test_a_role_needs_a_region_to_ask_for_it() -> None:
    with pytest.raises(ConfigurationError, match="role needs a region"):
        S3Store(f"s3://bucket?role={ROLE}")


@pytest.mark.parametrize(
    ("flags", "hosts"),
    [
        ({}, ("kms.us-east-1.amazonaws.com", "s3.amazonaws.com", "dynamodb.us-east-1.amazonaws.com")),
        (
            {"fips": "true"},
            ("kms-fips.us-east-1.amazonaws.com", "s3-fips.us-east-1.amazonaws.com", "dynamodb-fips.us-east-1"),
        ),
        (
            {"dualstack": "true"},
            ("kms.us-east-1.api.aws", "s3.dualstack.us-east-1.amazonaws.com", "dynamodb.us-east-1.api.aws"),
        ),
    ],
)
def test_each_service_is_asked_where_the_options_say(flags: dict[str, str], hosts: tuple[str, ...]) -> None:
    options = {"region": "us-east-1", **flags}
    key = AwsKms(KEY, **{name: value == "true" for name, value in flags.items()})  # type: ignore[arg-type]
    with key._connection.in_use() as kms:
        # What S3 is asked at is settled for each request.
        s3_url = make_client(options).generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
        urls = (kms.meta.endpoint_url, s3_url, _make_client(options).meta.endpoint_url)
    key.close()
    assert [host in url for host, url in zip(hosts, urls, strict=True)] == [True, True, True], urls


def test_the_token_service_is_asked_alike() -> None:
    from envelope_codec.aws.sessions import Sessions

    for flags, host in (((True, None), "sts-fips.us-east-1"), ((None, True), "sts.us-east-1.api.aws")):
        sessions = Sessions(Access(role=ROLE, fips=flags[0], dualstack=flags[1]), "us-east-1", 1.0, 1.0, 1)
        client = sessions.make().create_client("sts")
        assert host in client.meta.endpoint_url
        client.close()


def test_what_is_not_given_is_as_the_configuration_says(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    assert "fips" in make_client({"region": "us-east-1"}).meta.endpoint_url
    assert "fips" not in make_client({"region": "us-east-1", "fips": "false"}).meta.endpoint_url


async def ask(opened: object) -> EnvelopeError:
    """Make one request, which fails."""
    with pytest.raises(EnvelopeError) as caught:
        await _request(opened)
    return caught.value


async def _request(opened: object) -> None:
    if isinstance(opened, AwsKms):
        await asyncio.to_thread(opened.wrap, bytes(32), {"temporal-namespace": "shop"})
    elif isinstance(opened, S3Store):
        await opened.put("0" * 32, b"data")
    elif isinstance(opened, (S3Keystore, DynamoDbKeystore)):
        await opened.get(bytes(32))


@pytest.mark.parametrize("opener", OPENERS)
async def test_a_role_is_assumed_and_its_session_renewed_before_it_ends(opener: str, service: AwsService) -> None:
    service.external_id, service.minutes = "a/b:c", [5.0, 60.0]
    where = f"endpoint={service.endpoint}&sts_endpoint={service.endpoint}"
    opened = OPENERS[opener](f"role={ROLE}&external_id={quote('a/b:c')}&role_session_name=worker-1&{where}")
    for _ in range(3):
        assert "credentials" not in (await ask(opened)).reason
    assert [len(service.used), service.used[-1], len(service.sessions)] == [3, "ASIA2", 2]
    first = service.sessions[0]
    assert (first["RoleArn"], first["RoleSessionName"], first["ExternalId"]) == (ROLE, "worker-1", "a/b:c")


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("external_id", ["", "&external_id=wrong"])
async def test_a_role_that_may_not_be_assumed_has_its_own_error(
    opener: str, external_id: str, service: AwsService
) -> None:
    service.external_id = "right"
    where = f"endpoint={service.endpoint}&sts_endpoint={service.endpoint}"
    failed = await ask(OPENERS[opener](f"role={ROLE}&{where}{external_id}"))
    assert failed.reason == NO_ROLE.text
    assert failed.retryable
    assert service.used == []
