"""The options of an AWS KMS master key: how to reach AWS, and as whom."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec.provider import CONNECT_TIMEOUT, READ_TIMEOUT, Option, check_url, seconds
from envelope_codec_aws._key_id import KeyArn, check_role_arn

OPTIONS = (
    Option("endpoint", "URL of the KMS: a VPC endpoint, or a local server", default="AWS's own"),
    Option("profile", "profile of the AWS configuration files"),
    Option("role", "ARN of an IAM role to assume with the credentials found otherwise"),
    Option("external_id", "what the role's trust policy may ask for"),
    Option("role_session_name", "what CloudTrail calls the session", default="`envelope-codec`"),
    Option("sts_endpoint", "URL of the token service, with `role`", default="AWS's own"),
    Option("connect_timeout", "seconds for a connection, to the token service too", "seconds", default="2"),
    Option("read_timeout", "seconds for a reply", "seconds", default="5"),
    Option(
        "decrypt_accounts",
        "accounts, separated by commas: any of their keys in the ARN's region opens as well, as far as IAM lets you "
        "decrypt with it",
        "list",
    ),
)

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)


@dataclass(frozen=True)
class ClientOptions:
    """How to reach AWS. The names are those of a key URI's options; None is the default of `OPTIONS`."""

    endpoint: str | None = None
    sts_endpoint: str | None = None
    profile: str | None = None
    role: str | None = None
    role_session_name: str | None = None
    external_id: str | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds for a connection, and for a reply. Raises `ConfigurationError` if one is wrong."""
        return (
            seconds("connect_timeout", self.connect_timeout, CONNECT_TIMEOUT),
            seconds("read_timeout", self.read_timeout, READ_TIMEOUT),
        )

    def check(self, arn: KeyArn) -> None:
        """Raise `ConfigurationError` for what can be seen to be wrong without a network."""
        for name, url in (("endpoint", self.endpoint), ("sts_endpoint", self.sts_endpoint)):
            if url is not None:
                check_url(name, url)
        _ = self.timeouts
        if self.role is not None:
            check_role_arn(self.role, partition=arn.partition)
        else:
            self._check_no_role()
        _check_form("role_session_name", self.role_session_name, _SESSION_NAME)
        _check_form("external_id", self.external_id, _EXTERNAL_ID)

    def _check_no_role(self) -> None:
        of_a_role = {
            "sts_endpoint": self.sts_endpoint,
            "role_session_name": self.role_session_name,
            "external_id": self.external_id,
        }
        for name, value in of_a_role.items():
            if value is not None:
                raise ConfigurationError(f"AWS KMS option {name} needs role=ARN")


def _check_form(name: str, value: str | None, form: re.Pattern[str]) -> None:
    if value is not None and not form.fullmatch(value):
        raise ConfigurationError(
            f"AWS KMS option {name}={show_value(value)} has a character or a length that AWS does not take"
        )
