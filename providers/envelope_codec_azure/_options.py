"""The options of an Azure Key Vault master key: who signs, how the vault is reached, and as whom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_path, show_value
from envelope_codec.provider import CONNECT_TIMEOUT, READ_TIMEOUT, Option, check_url, is_loopback, seconds
from envelope_codec_azure._key_id import VaultKey, is_name

SIGN_KEY_REFRESH = 300.0
"""As long as a lease is by default."""

MOST_SIGN_KEYS = 8

OPTIONS = (
    Option(
        "sign_key",
        "names of signing keys in the same vault, of type EC or EC-HSM with curve P-256. The first one signs, and "
        "signatures of all of them are accepted. An RSA key needs one; an oct-HSM key does not",
        kind="list",
    ),
    Option(
        "sign_key_refresh",
        "seconds for which the public key of a signing key is used before the vault is asked for it again",
        kind="seconds",
        default=f"{SIGN_KEY_REFRESH:g}",
    ),
    Option(
        "client_id",
        "client id of the managed identity or workload identity to use",
        default="`AZURE_CLIENT_ID`, else the only identity that there is",
    ),
    Option(
        "ca_bundle",
        "file or folder of CA certificates, for the vault and for the token service",
        default="`REQUESTS_CA_BUNDLE`, else the certificates that come with `certifi`",
    ),
    Option(
        "endpoint",
        "`https://HOST:PORT` of a test server or a tunnel on this machine. It is no part of the key id",
        default="`https://` and the vault's host",
    ),
    Option("connect_timeout", "seconds for a connection", kind="seconds", default=f"{CONNECT_TIMEOUT:g}"),
    Option("read_timeout", "seconds between two reads", kind="seconds", default=f"{READ_TIMEOUT:g}"),
)

_CLIENT_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Route:
    """How a vault is reached, and as whom.

    Attributes:
        url: ``https://HOST[:PORT]``.
        client_id: which managed identity or workload identity; None leaves it to the environment.
        ca_bundle: path of the CA certificates; None for the usual ones.
        connect_timeout, read_timeout: seconds.
    """

    url: str
    client_id: str | None
    ca_bundle: str | None
    connect_timeout: float
    read_timeout: float

    @property
    def is_local(self) -> bool:
        """Whether it leads to this machine: no proxy, and a token service that Microsoft does not know."""
        return is_loopback(urlsplit(self.url).hostname)


def choose_route(
    key: VaultKey,
    *,
    endpoint: str | None,
    client_id: str | None,
    ca_bundle: str | Path | None,
    connect_timeout: float | None,
    read_timeout: float | None,
) -> Route:
    """Check the options and put them together. Raises `ConfigurationError`."""
    if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
        raise ConfigurationError("option client_id must be a UUID")  # without repeating what may be a secret
    if ca_bundle is not None and not Path(ca_bundle).exists():
        raise ConfigurationError(f"option ca_bundle: {show_path(ca_bundle)} does not exist")
    return Route(
        url=f"https://{key.host}" if endpoint is None else _checked_endpoint(endpoint),
        client_id=client_id,
        ca_bundle=None if ca_bundle is None else str(ca_bundle),
        connect_timeout=seconds("connect_timeout", connect_timeout, CONNECT_TIMEOUT),
        read_timeout=seconds("read_timeout", read_timeout, READ_TIMEOUT),
    )


def check_sign_keys(sign_key: str | Sequence[str] | None, key: VaultKey) -> tuple[str, ...]:
    """Check the names of the signing keys. Raises `ConfigurationError`."""
    names = () if sign_key is None else (sign_key,) if isinstance(sign_key, str) else tuple(sign_key)
    for name in names:
        if not isinstance(name, str) or not is_name(name):
            raise ConfigurationError(
                f"option sign_key={show_value(name)} must be the name of a key in the same vault, without a version"
            )
    if len({name.lower() for name in names}) < len(names) or len(names) > MOST_SIGN_KEYS:
        raise ConfigurationError(f"option sign_key must name up to {MOST_SIGN_KEYS} keys, each of them once")
    if key.name.lower() in {name.lower() for name in names}:
        raise ConfigurationError(f"option sign_key must name another key than {key.name!r}: that one encrypts")
    return names


def _checked_endpoint(endpoint: str) -> str:
    url = check_url("endpoint", endpoint)
    parts = urlsplit(url)
    if parts.scheme != "https" or not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"option endpoint={show_value(endpoint)} must be https://HOST:PORT with a loopback address: a real vault "
            "is reached by the host name in the key URI"
        )
    return url
