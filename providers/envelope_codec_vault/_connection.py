"""The connections to one Vault address, and hvac clients on them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import hvac
import requests
from requests.adapters import HTTPAdapter

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import shown_path, shown_value
from envelope_codec_vault._environment import variable
from envelope_codec_vault._errors import RedirectRefused

POOL_SIZE = 32
"""Connections kept open, at most: more than the keyring has threads."""

# Each hop costs up to a read time-out, and Vault needs one.
_MAX_REDIRECTS = 2
_DEFAULT_PORTS = {"http": 80, "https": 443}


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
        parts = urlsplit(self.address)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def choose_endpoint(
    *,
    address: str | None,
    namespace: str,
    ca_bundle: str | os.PathLike[str] | None,
    connect_timeout: float,
    read_timeout: float,
) -> Endpoint:
    """An `Endpoint` from settings, and from VAULT_ADDR, VAULT_CACERT, VAULT_CAPATH, VAULT_CLIENT_CERT and
    VAULT_CLIENT_KEY, or their twins of OpenBao, ``BAO_…``.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    address = address or variable("ADDR")
    if not address:
        raise ConfigurationError("no Vault address: set VAULT_ADDR or address=https://HOST:8200")
    _check_address(address)
    for setting, seconds in (("connect_timeout", connect_timeout), ("read_timeout", read_timeout)):
        if not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds <= 0:
            raise ConfigurationError(f"Vault setting {setting}={seconds!r} must be a number of seconds above 0")
    bundle = ca_bundle or variable("CACERT") or variable("CAPATH")
    verify = os.path.expanduser(bundle) if bundle else True  # noqa: PTH111 - requests takes a text
    if verify is not True and not os.path.exists(verify):  # noqa: PTH110
        raise ConfigurationError(
            f"Vault setting ca_bundle: {shown_path(verify)} does not exist (also VAULT_CACERT, VAULT_CAPATH)"
        )
    times = float(connect_timeout), float(read_timeout)
    return Endpoint(address.rstrip("/"), namespace, verify, *times, _own_certificate())


class Connection:
    """A pool of connections to an `Endpoint`; opened by the first request, and shared by the clients on it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session = requests.Session()
        self._session.verify = endpoint.verify
        self._session.cert = endpoint.certificate
        self._session.max_redirects = _MAX_REDIRECTS
        self._session.hooks["response"].append(refuse_other_origin)
        # The keyring retries, with back-off and a deadline.
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=POOL_SIZE, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def client(self, token: str) -> hvac.Client:
        """A client with this token; empty for none, which keeps hvac from looking for one itself."""
        return hvac.Client(
            url=self._endpoint.address,
            token=token,
            namespace=self._endpoint.namespace or None,
            timeout=(self._endpoint.connect_timeout, self._endpoint.read_timeout),  # type: ignore[arg-type]
            session=self._session,
        )

    def close(self) -> None:
        self._session.close()


def refuse_other_origin(reply: requests.Response, *_: Any, **__: Any) -> requests.Response:
    """A hook that keeps redirects within scheme, host and port.

    requests strips only the Authorization header when it follows a redirect elsewhere: X-Vault-Token would go along,
    and with 307, Vault's own, the body too, which holds the secret to wrap. Standby nodes forward requests; they
    redirect only where forwarding is off, and then to the cluster's ``api_addr``, which is the address to configure.
    """
    if reply.is_redirect and _origin(urljoin(reply.url, reply.headers["location"])) != _origin(reply.url):
        raise RedirectRefused("redirect to another origin refused: configure the address that Vault redirects to")
    return reply


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None


def _own_certificate() -> tuple[str, str] | str | None:
    certificate, key = variable("CLIENT_CERT"), variable("CLIENT_KEY")
    for name, path in (("VAULT_CLIENT_CERT", certificate), ("VAULT_CLIENT_KEY", key)):
        if path and not os.path.exists(path):  # noqa: PTH110
            raise ConfigurationError(f"{name}: {path!r} does not exist")
    if key and not certificate:
        raise ConfigurationError("VAULT_CLIENT_KEY needs VAULT_CLIENT_CERT beside it")
    return (certificate, key) if certificate and key else certificate


def _check_address(address: str) -> None:
    if not isinstance(address, str) or "@" in address:
        raise ConfigurationError("the Vault address must not hold credentials (…@…)")
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    else:
        sound = sound and not parts.query and not parts.fragment and address.isprintable() and " " not in address
    if not sound:
        raise ConfigurationError(f"Vault address {shown_value(address)} must be https://HOST:PORT")
