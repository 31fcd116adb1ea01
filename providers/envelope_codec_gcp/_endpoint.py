"""The address of the KMS: Google's own, or another one from the key URI."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec.provider import is_loopback

_HOST_PORT = re.compile(
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True)
class Endpoint:
    """An address of the KMS.

    Attributes:
        target: ``HOST:PORT``; None is Google's own address.
        insecure: no TLS and no credentials. Loopback only.
    """

    target: str | None = None
    insecure: bool = False

    @classmethod
    def regional(cls, location: str) -> Endpoint:
        """Make Google's regional endpoint of a key's location: https://cloud.google.com/kms/docs/reference/rest

        Raises:
            ConfigurationError: the location has none.
        """
        if location == "global":
            raise ConfigurationError("regional=true needs a key of a region, and this one is of location 'global'")
        return cls(f"cloudkms.{location}.rep.googleapis.com:443")

    @classmethod
    def of(cls, text: str | None, insecure: bool | None) -> Endpoint:
        """Make the endpoint that the options ``endpoint`` and ``insecure`` mean.

        Without ``insecure``, a loopback address (127.0.0.0/8, ::1, localhost) is used without TLS and every other one
        with TLS.

        Raises:
            ConfigurationError: not ``HOST:PORT``, or no TLS asked for on another address than loopback.
        """
        if text is None:
            if insecure:
                raise ConfigurationError("insecure=true needs endpoint=HOST:PORT with a loopback address")
            return cls()
        match = _HOST_PORT.fullmatch(text)
        if not match or not 1 <= int(match["port"] or 443) <= 65535:
            raise ConfigurationError(f"endpoint {show_value(text)} must be HOST:PORT, without a scheme and a path")
        loopback = is_loopback(match["host"])
        if insecure and not loopback:
            raise ConfigurationError(
                f"insecure=true is for loopback addresses only, and endpoint {show_value(text)} is none: "
                "it would send keys over the network in clear"
            )
        target = text if match["port"] else f"{text}:443"
        return cls(target, loopback if insecure is None else insecure)
