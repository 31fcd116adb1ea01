"""Access to AWS: as whom it is asked, and at which of its endpoints. Imports no SDK."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec.provider import check_url

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
_ROLE = re.compile(r"arn:([a-z-]+):iam::[0-9]{12}:role/[!-~]{1,576}")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_FLAGS = ("fips", "dualstack")


@dataclass(frozen=True)
class Access:
    """As whom AWS is asked, and at which of its endpoints. The names are those of options; None is not given.

    Attributes:
        profile: of the AWS configuration files.
        role: ARN of an IAM role to assume with the credentials found otherwise.
        external_id: what the role's trust policy may ask for.
        role_session_name: what CloudTrail calls the session.
        sts_endpoint: URL of the token service.
        fips: whether to ask endpoints whose cryptography is validated by FIPS 140, of the token service too.
        dualstack: whether to ask endpoints that IPv6 reaches as well, of the token service too.
    """

    profile: str | None = None
    role: str | None = None
    external_id: str | None = None
    role_session_name: str | None = None
    sts_endpoint: str | None = None
    fips: bool | None = None
    dualstack: bool | None = None

    @classmethod
    def of(cls, options: Mapping[str, str], where: str) -> Access:
        """Return the access that the options of a URL mean, which may have others. ``where`` begins errors.

        Raises:
            ConfigurationError: an option is wrong.
        """
        given: dict[str, Any] = {name: value for name, value in options.items() if name in OPTIONS}
        for name in _FLAGS:
            if name in given and given[name] not in ("true", "false"):
                raise ConfigurationError(f"{where} {name}={show_value(given[name])} must be true or false")
            if name in given:
                given[name] = given[name] == "true"
        access = cls(**given)
        access.check(where, endpoint=options.get("endpoint"))
        return access

    def check(self, where: str, *, endpoint: str | None, partition: str | None = None) -> None:
        """Check what can be seen to be wrong without a network.

        Args:
            where: begins errors.
            endpoint: URL of the service that is asked, if it is given.
            partition: that the role must be in, if that is known.

        Raises:
            ConfigurationError: an option is wrong; the text names it.
        """
        if self.sts_endpoint is not None:
            check_url("sts_endpoint", self.sts_endpoint)
        if self.role is not None:
            _check_role(where, self.role, partition)
        for name, value in self._of_a_role().items():
            if value is not None and self.role is None:
                raise ConfigurationError(f"{where} {name} needs role=ARN")
        _check_form(where, "role_session_name", self.role_session_name, _SESSION_NAME)
        _check_form(where, "external_id", self.external_id, _EXTERNAL_ID)
        for name in self.endpoint_flags:
            for other, url in (("endpoint", endpoint), ("sts_endpoint", self.sts_endpoint)):
                if url is not None:
                    raise ConfigurationError(
                        f"{where} {name}=true chooses among AWS's own endpoints, and {other} names another: "
                        "leave one of the two out"
                    )

    @property
    def endpoint_flags(self) -> tuple[str, ...]:
        """Names of the options that choose among AWS's endpoints and are set."""
        return tuple(name for name in _FLAGS if getattr(self, name))

    def _of_a_role(self) -> dict[str, str | None]:
        return {
            "sts_endpoint": self.sts_endpoint,
            "role_session_name": self.role_session_name,
            "external_id": self.external_id,
        }


OPTIONS = frozenset(field.name for field in fields(Access))
"""Names of the options that say as whom AWS is asked, and at which of its endpoints."""


def _check_role(where: str, text: str, partition: str | None) -> None:
    match = _ROLE.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            f"{where} role={show_value(text)} must be an ARN: arn:{partition or 'aws'}:iam::ACCOUNT:role/NAME"
        )
    if partition is not None and match[1] != partition:
        raise ConfigurationError(
            f"{where} role={show_value(text)} must be in the key's own partition {partition!r}: "
            "credentials of one AWS partition are not valid in another"
        )


def _check_form(where: str, name: str, value: str | None, form: re.Pattern[str]) -> None:
    if value is not None and not form.fullmatch(value):
        raise ConfigurationError(
            f"{where} {name}={show_value(value)} has a character or a length that AWS does not take"
        )
