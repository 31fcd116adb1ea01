"""The options of an AWS KMS master key: how to reach AWS, and as whom."""

from __future__ import annotations

from dataclasses import dataclass

from envelope_codec.aws.access import Access
from envelope_codec.provider import CONNECT_TIMEOUT, READ_TIMEOUT, Option, check_url, seconds
from envelope_codec_aws._key_id import KeyArn

WHERE = "AWS KMS option"
"""How errors of options begin."""

OPTIONS = (
    Option("endpoint", "URL of the KMS: a VPC endpoint, or a local server", default="AWS's own"),
    Option("profile", "profile of the AWS configuration files"),
    Option("role", "ARN of an IAM role to assume with the credentials found otherwise"),
    Option("external_id", "what the role's trust policy may ask for"),
    Option("role_session_name", "what CloudTrail calls the session", default="`envelope-codec`"),
    Option("sts_endpoint", "URL of the token service, with `role`", default="AWS's own"),
    Option(
        "fips",
        "`true`: FIPS endpoints of AWS, of the token service too; not with `endpoint` or `sts_endpoint`",
        "flag",
        default="as the AWS configuration says",
    ),
    Option(
        "dualstack",
        "`true`: endpoints of AWS that IPv6 reaches as well; else as for `fips`",
        "flag",
        default="as the AWS configuration says",
    ),
    Option("connect_timeout", "seconds for a connection, to the token service too", "seconds", default="2"),
    Option("read_timeout", "seconds for a reply", "seconds", default="5"),
    Option(
        "decrypt_accounts",
        "accounts, separated by commas: any of their keys in the ARN's region opens as well, as far as IAM lets you "
        "decrypt with it",
        "list",
    ),
)


@dataclass(frozen=True)
class ClientOptions:
    """How to reach AWS. The names are those of a key URI's options; None is the default of `OPTIONS`."""

    endpoint: str | None = None
    sts_endpoint: str | None = None
    profile: str | None = None
    role: str | None = None
    role_session_name: str | None = None
    external_id: str | None = None
    fips: bool | None = None
    dualstack: bool | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds for a connection, and for a reply. Raises `ConfigurationError` if one is wrong."""
        return (
            seconds("connect_timeout", self.connect_timeout, CONNECT_TIMEOUT),
            seconds("read_timeout", self.read_timeout, READ_TIMEOUT),
        )

    @property
    def access(self) -> Access:
        """As whom AWS is asked, and at which of its endpoints."""
        return Access(
            profile=self.profile,
            role=self.role,
            external_id=self.external_id,
            role_session_name=self.role_session_name,
            sts_endpoint=self.sts_endpoint,
            fips=self.fips,
            dualstack=self.dualstack,
        )

    def check(self, arn: KeyArn) -> None:
        """Raise `ConfigurationError` for what can be seen to be wrong without a network."""
        if self.endpoint is not None:
            check_url("endpoint", self.endpoint)
        _ = self.timeouts
        self.access.check(WHERE, endpoint=self.endpoint, partition=arn.partition)
