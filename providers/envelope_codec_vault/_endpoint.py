"""Where Vault is, from options and from the environment of Vault's own tools."""

from __future__ import annotations

import os
from dataclasses import dataclass

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_path
from envelope_codec.provider import CONNECT_TIMEOUT, READ_TIMEOUT, check_url, is_exposed, seconds
from envelope_codec_vault._environment import read_variable


@dataclass(frozen=True)
class Endpoint:
    """Where Vault is, and how long to wait for it.

    Attributes:
        address: ``https://HOST:PORT``.
        namespace: sent with each request; empty for the root namespace.
        verify: path of the CA bundle (a file or a folder), or True for the system's own.
        connect_timeout: seconds.
        read_timeout: seconds between two reads.
        certificate: paths of this client's own certificate and key, for TLS both ways.
    """

    address: str
    namespace: str
    verify: str | bool
    connect_timeout: float
    read_timeout: float
    certificate: tuple[str, str] | str | None = None

    @property
    def is_exposed(self) -> bool:
        """Whether tokens and secrets leave this machine without TLS."""
        return is_exposed(self.address)


def choose_endpoint(
    *,
    url: str | None,
    namespace: str,
    ca_bundle: str | os.PathLike[str] | None,
    connect_timeout: float | None,
    read_timeout: float | None,
) -> Endpoint:
    """Make an `Endpoint` from options, and from VAULT_ADDR, VAULT_CACERT, VAULT_CAPATH, VAULT_CLIENT_CERT and
    VAULT_CLIENT_KEY, or their twins of OpenBao, ``BAO_…``.

    Raises:
        ConfigurationError: an option is missing or wrong.
    """
    url = url or read_variable("ADDR")
    if not url:
        raise ConfigurationError("no Vault address: set VAULT_ADDR or endpoint=https://HOST:8200")
    bundle = ca_bundle or read_variable("CACERT") or read_variable("CAPATH")
    verify = os.path.expanduser(bundle) if bundle else True  # noqa: PTH111 - requests takes a text
    if verify is not True and not os.path.exists(verify):  # noqa: PTH110
        raise ConfigurationError(
            f"Vault setting ca_bundle: {show_path(verify)} does not exist (also VAULT_CACERT, VAULT_CAPATH)"
        )
    return Endpoint(
        check_url("endpoint", url, path=True),
        namespace,
        verify,
        seconds("connect_timeout", connect_timeout, CONNECT_TIMEOUT),
        seconds("read_timeout", read_timeout, READ_TIMEOUT),
        _own_certificate(),
    )


def _own_certificate() -> tuple[str, str] | str | None:
    certificate, key = read_variable("CLIENT_CERT"), read_variable("CLIENT_KEY")
    for name, path in (("VAULT_CLIENT_CERT", certificate), ("VAULT_CLIENT_KEY", key)):
        if path and not os.path.exists(path):  # noqa: PTH110
            raise ConfigurationError(f"{name}: {path!r} does not exist")
    if key and not certificate:
        raise ConfigurationError("VAULT_CLIENT_KEY needs VAULT_CLIENT_CERT beside it")
    return (certificate, key) if certificate and key else certificate
