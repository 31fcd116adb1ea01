"""The options of an AWS KMS master key: how to reach AWS, and as whom."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from botocore.session import Session

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import shown_value
from envelope_codec_aws._key_id import KeyArn, check_role_arn

_LONGEST_TIMEOUT = 60.0

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)


@dataclass(frozen=True)
class ClientOptions:
    """How to reach AWS; None is AWS's own default. The names are those of a key URI's options.

    Attributes:
        endpoint: URL of the KMS.
        sts_endpoint: URL of the token service, with ``role``.
        profile: profile of the AWS configuration files.
        role: ARN of an IAM role to assume, with the credentials found otherwise.
        role_session_name: what CloudTrail calls the session.
        external_id: what the role's trust policy may ask for.
        connect_timeout: seconds, of each connection, to the token service too.
        read_timeout: seconds, of each reply.
    """

    endpoint: str | None = None
    sts_endpoint: str | None = None
    profile: str | None = None
    role: str | None = None
    role_session_name: str | None = None
    external_id: str | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None

    @classmethod
    def names(cls) -> frozenset[str]:
        return frozenset(field.name for field in fields(cls))

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> ClientOptions:
        """From the options of a key URI."""
        seconds = {name: _seconds(name, texts[name]) for name in ("connect_timeout", "read_timeout") if name in texts}
        strings = {name: text for name, text in texts.items() if name not in seconds}
        return cls(**strings, **seconds)  # type: ignore[arg-type]  # mypy takes each value for each field

    @property
    def given(self) -> list[str]:
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]

    def check(self, arn: KeyArn) -> None:
        """Raises `ConfigurationError` for what can be seen to be wrong without a network."""
        for name in ("endpoint", "sts_endpoint"):
            _check_url(name, getattr(self, name))
        for name in ("connect_timeout", "read_timeout"):
            _check_seconds(name, getattr(self, name))
        if self.role is None:
            for name in ("sts_endpoint", "role_session_name", "external_id"):
                if getattr(self, name) is not None:
                    raise ConfigurationError(f"AWS KMS option {name} needs role=ARN")
        else:
            check_role_arn(self.role, partition=arn.partition)
        _check_form("role_session_name", self.role_session_name, _SESSION_NAME)
        _check_form("external_id", self.external_id, _EXTERNAL_ID)
        _check_profile(self.profile)


def _seconds(name: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise ConfigurationError(f"AWS KMS option {name}={shown_value(text)} must be seconds, such as 2 or 0.5")
    return float(text)


def _check_seconds(name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and 0 < value <= _LONGEST_TIMEOUT):
        raise ConfigurationError(
            f"AWS KMS option {name}={value!r} must be more than 0 and at most {_LONGEST_TIMEOUT:.0f} seconds"
        )


def _check_url(name: str, value: str | None) -> None:
    if value is None:
        return
    if "@" in value:
        raise ConfigurationError(f"AWS KMS option {name} must not hold credentials (…@…); AWS takes signed requests")
    problem = ConfigurationError(
        f"AWS KMS option {name}={shown_value(value)} must be http://HOST[:PORT] or https://HOST[:PORT]"
    )
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise problem from None
    bare = f"{parts.scheme}://{parts.netloc}"
    valid = parts.scheme in ("http", "https") and parts.hostname and port != 0
    if not valid or value not in (bare, f"{bare}/") or not value.isascii() or " " in value:
        raise problem


def _check_form(name: str, value: str | None, form: re.Pattern[str]) -> None:
    if value is not None and not form.fullmatch(value):
        raise ConfigurationError(
            f"AWS KMS option {name}={shown_value(value)} has a character or a length that AWS does not take"
        )


def _check_profile(profile: str | None) -> None:
    if profile is None:
        return
    try:
        Session(profile=profile).get_scoped_config()
    except BotoCoreError as error:
        raise ConfigurationError(
            f"AWS KMS option profile={profile!r} can't be used: {error}; see AWS_CONFIG_FILE and ~/.aws/config"
        ) from None
