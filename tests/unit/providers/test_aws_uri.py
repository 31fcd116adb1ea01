"""AWS key URIs, ARNs and options: what is taken, and what the refusal says."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import boto3
import pytest

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MasterKey, master_key
from envelope_codec_aws import AwsKms

UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
KEY = f"arn:aws:kms:us-east-1:111122223333:key/{UUID}"
ALIAS = "arn:aws:kms:us-east-1:111122223333:alias/payloads"
ROLE = "arn:aws:iam::111122223333:role/service/worker"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a key URI was parsed over the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    "arn",
    [
        KEY,
        f"arn:aws:kms:ap-southeast-2:111122223333:key/{MRK}",
        f"arn:aws-cn:kms:cn-northwest-1:111122223333:key/{UUID}",
        f"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/{UUID}",
        f"arn:aws-iso:kms:us-iso-east-1:111122223333:key/{UUID}",
        f"arn:aws-iso-b:kms:us-isob-east-1:111122223333:key/{UUID}",
        f"arn:aws-iso-e:kms:eu-isoe-west-1:111122223333:key/{UUID}",
        f"arn:aws-iso-f:kms:us-isof-south-1:111122223333:key/{UUID}",
        f"arn:aws-eusc:kms:eusc-de-east-1:111122223333:key/{UUID}",
        "arn:aws:kms:us-east-1:111122223333:alias/payloads",
        "arn:aws:kms:us-east-1:111122223333:alias/team_a/Payloads-2",
        "arn:aws:kms:us-east-1:111122223333:alias/aws/s3",
    ],
)
def test_an_arn_is_taken_bare_and_as_a_uri_and_names_the_key(arn: str) -> None:
    for uri in (arn, f"awskms:///{arn}", f"awskms:///{arn.replace(':', '%3A')}"):
        key = master_key(uri)
        assert isinstance(key, AwsKms)
        assert isinstance(key, MasterKey)
        assert key.key_id == arn


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        (UUID, "give the key ARN"),
        (MRK, "give the key ARN"),
        ("alias/payloads", "give the alias ARN"),
        ("", "not an ARN"),
        (KEY.upper(), "not an ARN in lower case"),
        (f"ARN{KEY[3:]}", "not an ARN in lower case"),
        (f" {KEY}", "not an ARN"),
        (f"{KEY}\n", "must be a UUID"),
        (f"{KEY} ", "must be a UUID"),
        (f"{KEY}/", "must be a UUID"),
        ("arn:aws:s3:::bucket", "not the ARN of a KMS key"),
        ("arn:aws:kms:us-east-1", "not the ARN of a KMS key"),
        (f"arn:azure:kms:us-east-1:111122223333:key/{UUID}", "unknown partition 'azure' (known: aws, aws-cn"),
        (f"arn:aws:kms::111122223333:key/{UUID}", "'' is not a region"),
        (f"arn:aws:kms:us-east:111122223333:key/{UUID}", "'us-east' is not a region"),
        (f"arn:aws:kms:US-EAST-1:111122223333:key/{UUID}", "'US-EAST-1' is not a region"),
        (f"arn:aws:kms:cn-north-1:111122223333:key/{UUID}", "is not in partition 'aws'"),
        (f"arn:aws:kms:us-gov-west-1:111122223333:key/{UUID}", "is not in partition 'aws'"),
        (f"arn:aws-cn:kms:us-east-1:111122223333:key/{UUID}", "is not in partition 'aws-cn'"),
        (f"arn:aws:kms:us-east-1:11112222333:key/{UUID}", "must be 12 digits"),
        (f"arn:aws:kms:us-east-1:1111-2222-3333:key/{UUID}", "must be 12 digits"),
        (f"arn:aws:kms:us-east-1:\u0661{'1' * 11}:key/{UUID}", "must be 12 digits"),
        (f"arn:aws:kms:us-east-1:111122223333:key/{UUID.upper()}", "in lower case"),
        (f"arn:aws:kms:us-east-1:111122223333:key/{UUID.replace('-', '')}", "must be a UUID"),
        (f"arn:aws:kms:us-east-1:111122223333:key/{MRK[:-1]}", "mrk- and 32 hex digits"),
        ("arn:aws:kms:us-east-1:111122223333:key/alias/payloads", "must be a UUID"),
        (f"arn:aws:kms:us-east-1:111122223333:Key/{UUID}", "neither key/KEY-ID nor alias/NAME"),
        (f"arn:aws:kms:us-east-1:111122223333:key:{UUID}", "neither key/KEY-ID nor alias/NAME"),
        ("arn:aws:kms:us-east-1:111122223333:alias/", "alias name ''"),
        ("arn:aws:kms:us-east-1:111122223333:alias/a b", "alias name 'a b'"),
        (f"arn:aws:kms:us-east-1:111122223333:alias/{'a' * 251}", "at most 250"),
    ],
)
def test_anything_else_is_refused_with_the_fix(arn: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AwsKms(arn)
    assert says in str(caught.value)
    assert repr(arn) in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (f"awskms://{KEY}", "must have three slashes"),
        (f"awskms://localhost:4566/{KEY}", "?endpoint=URL"),
        (f"gcpkms:///{KEY}", "must start with awskms://"),
        ("awskms:///", "not an ARN"),
        (f"awskms:////{KEY}", "not an ARN"),
        (f"awskms:///{UUID}", "give the key ARN"),
        (f"awskms:///{KEY}?region=us-east-1", "unknown option 'region' (known: connect_timeout, decrypt_accounts,"),
        (f"awskms:///{KEY}?client=x", "unknown option 'client'"),
        (f"awskms:///{KEY}?profile=a&profile=b", "'profile' once"),
        (f"awskms:///{KEY}?endpoint=", "'endpoint' once, and not empty"),
    ],
)
def test_a_malformed_uri_is_refused_with_the_fix(uri: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AwsKms.from_uri(uri)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        "endpoint=http://127.0.0.1:4566",
        "endpoint=https://vpce-0a1b.kms.us-east-1.vpce.amazonaws.com/",
        "endpoint=http://[::1]:4566",
        f"role={ROLE}",
        f"role={ROLE}&role_session_name=worker-1&external_id=a%2Bb&sts_endpoint=https://sts.example.com",
        "connect_timeout=0.25&read_timeout=60",
    ],
)
def test_options_are_taken(options: str) -> None:
    assert AwsKms.from_uri(f"awskms:///{KEY}?{options}").key_id == KEY


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("endpoint=localhost:4566", "endpoint='localhost:4566' must be http://HOST"),
        ("endpoint=ftp://localhost", "must be http://HOST"),
        ("endpoint=http://", "must be http://HOST"),
        ("endpoint=http://user:secret@localhost", "credentials"),
        ("endpoint=http://localhost/path", "must be http://HOST"),
        ("endpoint=http://localhost:99999", "must be http://HOST"),
        ("endpoint=http://localhost:port", "must be http://HOST"),
        ("endpoint=http://localhost%3Fa=b", "must be http://HOST"),
        ("endpoint=http://local%20host", "must be http://HOST"),
        (f"role={ROLE}&sts_endpoint=localhost", "sts_endpoint='localhost' must be http://HOST"),
        ("sts_endpoint=http://localhost", "sts_endpoint needs role="),
        ("role_session_name=worker", "role_session_name needs role="),
        ("external_id=id", "external_id needs role="),
        ("role=worker", "must be an ARN"),
        ("role=arn:aws:iam::111122223333:user/worker", "must be an ARN"),
        ("role=arn:aws-cn:iam::111122223333:role/worker", "own partition 'aws'"),
        (f"role={ROLE}&role_session_name=a", "role_session_name='a'"),
        (f"role={ROLE}&role_session_name=a%20b", "role_session_name"),
        (f"role={ROLE}&external_id=a%0Ab", "external_id="),
        ("connect_timeout=0", "connect_timeout='0' must be seconds, more than 0"),
        ("read_timeout=601", "at most 600"),
        ("read_timeout=-1", "read_timeout='-1' must be seconds"),
        ("read_timeout=nan", "read_timeout='nan' must be seconds"),
        ("read_timeout=5s", "must be seconds"),
        ("profile=nobody", "profile='nobody' can't be used"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: str, says: str, aws_config: Path) -> None:
    aws_config.write_text("[default]\nregion = eu-west-1\n")
    with pytest.raises(ConfigurationError) as caught:
        AwsKms.from_uri(f"awskms:///{KEY}?{options}")
    assert says in str(caught.value)


def test_an_endpoint_with_credentials_does_not_show_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AwsKms(KEY, endpoint="http://user:hunter2@localhost")
    assert "hunter2" not in str(caught.value)


def test_a_known_profile_is_taken_and_an_unreadable_configuration_is_not(aws_config: Path) -> None:
    aws_config.write_text("[profile staging]\nregion = eu-west-1\n")
    assert AwsKms(KEY, profile="staging").key_id == KEY
    aws_config.write_text("[profile staging\n")
    with pytest.raises(ConfigurationError, match="profile='staging' can't be used"):
        AwsKms(KEY, profile="staging")


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), 600.1])
def test_a_time_out_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="read_timeout="):
        AwsKms(KEY, read_timeout=seconds)


def _client(service: Any, region: str) -> Any:
    return boto3.client(service, region_name=region, aws_access_key_id="test", aws_secret_access_key="test")


def test_a_client_of_another_region_or_service_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="build it with region_name='us-east-1'"):
        AwsKms(KEY, client=_client("kms", "eu-west-1"))
    with pytest.raises(ConfigurationError, match="must be a KMS client"):
        AwsKms(KEY, client=_client("sts", "us-east-1"))
    assert AwsKms(KEY, client=_client("kms", "us-east-1")).key_id == KEY


def test_a_client_and_other_options_do_not_go_together() -> None:
    with pytest.raises(ConfigurationError, match="endpoint, read_timeout can't be given together with client="):
        AwsKms(KEY, client=_client("kms", "us-east-1"), endpoint="http://localhost", read_timeout=1)


@pytest.mark.parametrize(
    ("recorded", "accepted"),
    [
        (KEY, True),
        (KEY.replace("us-east-1", "eu-west-1"), False),
        (KEY.replace("1111", "9999"), False),
        (KEY.upper(), False),
        (f"awskms:///{KEY}", False),
        ("arn:aws:kms:us-east-1:111122223333:alias/payloads", False),
        ("hashivault://payloads", False),
        ("", False),
    ],
)
def test_a_key_accepts_its_own_arn_only(recorded: str, accepted: bool) -> None:
    assert AwsKms(KEY).accepts(recorded) is accepted


@pytest.mark.parametrize(
    ("recorded", "accepted"),
    [
        (f"arn:aws:kms:us-east-1:111122223333:key/{MRK}", True),
        (f"arn:aws:kms:eu-west-1:111122223333:key/{MRK}", True),
        (f"arn:aws:kms:eu-west-1:999922223333:key/{MRK}", False),
        (f"arn:aws-cn:kms:cn-north-1:111122223333:key/{MRK}", False),
        (f"arn:aws:kms:eu-west-1:111122223333:key/mrk-{'0' * 32}", False),
        (f"arn:aws:kms:cn-north-1:111122223333:key/{MRK}", False),
        (KEY, False),
    ],
)
def test_a_multi_region_key_accepts_its_replicas(recorded: str, accepted: bool) -> None:
    assert AwsKms(f"arn:aws:kms:us-east-1:111122223333:key/{MRK}").accepts(recorded) is accepted


@pytest.mark.parametrize(
    "recorded",
    [
        "arn:aws:kms:us-east-1:111122223333:alias/payloads",
        KEY.replace("us-east-1", "eu-west-1"),
        KEY.replace("1111", "9999"),
        "not an ARN",
    ],
)
def test_an_alias_asks_nobody_about_what_it_can_never_point_at(recorded: str) -> None:
    assert not AwsKms("arn:aws:kms:us-east-1:111122223333:alias/payloads").accepts(recorded)


@pytest.fixture
def aws_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only configuration file that boto3 sees."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return tmp_path / "config"


@pytest.mark.parametrize("accounts", ["1", "111122223333,", "111122223333,abc"])
def test_accounts_that_are_none_are_refused(accounts: str) -> None:
    with pytest.raises(ConfigurationError, match=r"decrypt_accounts: account .* must be 12 digits"):
        AwsKms.from_uri(f"awskms:///{ALIAS}?decrypt_accounts={accounts}")


def test_a_text_of_accounts_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="decrypt_accounts must be a list"):
        AwsKms(ALIAS, decrypt_accounts="111122223333")


def test_an_account_opens_replicas_and_no_aliases_or_other_partitions() -> None:
    key = AwsKms(ALIAS, decrypt_accounts=["999999999999"])
    replica = "mrk-" + "0" * 32
    assert key.accepts(f"arn:aws:kms:us-east-1:999999999999:key/{replica}")
    assert key.accepts(f"arn:aws:kms:eu-west-1:999999999999:key/{replica}")
    for other in (
        "arn:aws:kms:us-east-1:999999999999:alias/x",
        f"arn:aws-cn:kms:cn-north-1:999999999999:key/{replica}",
        f"arn:aws:kms:us-east-1:888888888888:key/{replica}",
    ):
        assert not key.accepts(other)
