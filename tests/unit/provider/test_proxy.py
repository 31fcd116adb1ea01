"""What Temporal's proxy calls its master keys, as each provider reads it."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import master_key
from envelope_codec.provider import parse_proxy_uri
from envelope_codec_aws._key_id import KeyArn
from envelope_codec_aws._proxy import read_context
from envelope_codec_azure._key_id import VaultKey
from envelope_codec_azure._proxy import read_version
from envelope_codec_gcp._proxy import read_aad

ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:us-east-1:111122223333:key/{ID}"
ALIAS = "arn:aws:kms:us-east-1:111122223333:alias/team/payloads"
MRK = f"arn:aws:kms:eu-west-1:111122223333:key/mrk-{'0' * 32}"
NAME = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
VERSION = "0123456789abcdef0123456789abcdef"
VAULT = "azurekeyvault://example.vault.azure.net/keys/payloads"


@pytest.mark.parametrize(
    "uri", ["", "x://a", "X://a", "x:a", "y://a", "x://", "x://a#b", "x://a?b=1&b=2", "x://a?b", "x://%ff"]
)
def test_what_is_no_such_name_is_refused(uri: str) -> None:
    if uri == "x://a":
        assert parse_proxy_uri(uri, scheme="x") == ("a", {})
        return
    with pytest.raises(ConfigurationError) as caught:
        parse_proxy_uri(uri, scheme="x")
    assert "x://" in str(caught.value) or "name" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arn", "context"),
    [
        (f"/{ARN}", ARN, {}),
        (f"/{ARN}?region=us-east-1&profile=p&awssdk=v2", ARN, {}),
        (f"/{ARN}?context_app=orders&context_tier=a%20b", ARN, {"app": "orders", "tier": "a b"}),
        (ID, ARN, {}),
        ("alias/team/payloads", ALIAS, {}),
        (f"/{ALIAS}", ALIAS, {}),
        ("alias/anything", ARN, {}),
        (f"/{ARN}", ALIAS, {}),
        (f"/{MRK.replace('eu-west-1', 'us-east-1')}", MRK, {}),
    ],
)
def test_aws_takes_the_context_from_the_name_alone(name: str, arn: str, context: dict[str, str]) -> None:
    assert read_context(f"awskms://{name}", KeyArn.parse(arn)) == context


@pytest.mark.parametrize(
    ("name", "arn"),
    [
        (f"/{ARN.replace('1234abcd', '1234abce')}", ARN),
        (f"/{ARN.replace('us-east-1', 'us-east-2')}", ARN),
        (f"/{ARN.replace('111122223333', '111122223334')}", ARN),
        ("1234abce-12ab-34cd-56ef-1234567890ab", ARN),
        ("alias/other", ALIAS),
        (f"/{ARN}?context_app=", ARN),
        (f"/{ARN}?context_=x", ARN),
        ("/arn:aws:s3:::bucket", ARN),
    ],
)
def test_aws_refuses_the_name_of_another_key(name: str, arn: str) -> None:
    with pytest.raises(ConfigurationError):
        read_context(f"awskms://{name}", KeyArn.parse(arn))


def test_gcp_binds_nothing_unless_the_name_has_data() -> None:
    assert read_aad(f"gcpkms://{NAME}", NAME) == b""
    assert read_aad(f"gcpkms://{NAME}?additional_authenticated_data=_-8=", NAME) == b"\xff\xef"


@pytest.mark.parametrize(
    "uri",
    [
        f"gcpkms://{NAME}x",
        f"gcpkms:///{NAME}/cryptoKeyVersions/1",
        f"gcpkms://{NAME}?endpoint=evil",
        f"gcpkms://{NAME}?additional_authenticated_data=_-8",
        f"awskms://{NAME}",
    ],
)
def test_gcp_refuses_other_names(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        read_aad(uri, NAME)


def test_azure_uses_the_latest_version_unless_the_name_has_one() -> None:
    key = VaultKey("example.vault.azure.net", "payloads")
    assert read_version(VAULT, key) == ""
    assert read_version(f"{VAULT}?algorithm=RSA-OAEP-256", key) == ""
    assert read_version(f"{VAULT}/{VERSION}", key) == VERSION


@pytest.mark.parametrize(
    "uri",
    [
        VAULT + "x",
        VAULT + "/",
        VAULT + "/1",
        VAULT + "?algorithm=RSA1_5",
        VAULT + "?algorithm=RSA-OAEP",
        VAULT + "?endpoint=evil",
        VAULT.replace("example", "other"),
        VAULT.replace("/keys/", "/secrets/"),
        VAULT.replace("azurekeyvault", "azurekv"),
    ],
)
def test_azure_refuses_other_names(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        read_version(uri, VaultKey("example.vault.azure.net", "payloads"))


@pytest.mark.parametrize(
    ("uri", "name"),
    [(ARN, f"awskms:///{ARN}"), (NAME, f"gcpkms://{NAME}"), ("azurekv://example.vault.azure.net/payloads", VAULT)],
)
def test_each_provider_makes_an_unwrapper_without_asking_anybody(uri: str, name: str) -> None:
    master: Any = master_key(uri)
    assert callable(master.proxy_unwrapper(name))
    with pytest.raises(ConfigurationError):
        master.proxy_unwrapper(name + "x")
    master.close()
