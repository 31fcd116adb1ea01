"""Where Vault is, from options and from the environment of Vault's own tools."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_path
from envelope_codec.provider import CONNECT_TIMEOUT, READ_TIMEOUT, check_url, is_exposed, seconds
from envelope_codec_vault._environment import read_variable

_SOCKET = "unix://"
_LONGEST_SOCKET = 107  # bytes of sun_path on Linux
_HOST = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?")


@dataclass(frozen=True)
class Endpoint:
    """Where Vault is, and how long to wait for it.

    Attributes:
        address: ``https://HOST:PORT``, or ``unix:///PATH`` of a socket.
        namespace: where logins are made, and tokens looked up and renewed; empty for the root namespace.
        verify: path of the CA bundle (a file or a folder), or True for the system's own.
        connect_timeout: seconds.
        read_timeout: seconds between two reads.
        certificate: paths of this client's own certificate and key, for TLS both ways.
        tls_server_name: the name in the server's certificate; None if it is the host of the address.
    """

    address: str
    namespace: str
    verify: str | bool
    connect_timeout: float
    read_timeout: float
    certificate: tuple[str, str] | str | None = None
    tls_server_name: str | None = None

    @property
    def socket(self) -> str | None:
        """Path of the Unix domain socket; None if the address is a URL of HTTP."""
        return self.address[len(_SOCKET) :] if self.address.startswith(_SOCKET) else None

    @property
    def url(self) -> str:
        """What HTTP asks. A host stands in it also for a socket."""
        return "http://localhost" if self.socket else self.address

    @property
    def is_exposed(self) -> bool:
        """Whether tokens and secrets leave this machine without TLS."""
        return not self.socket and is_exposed(self.address)


def choose_endpoint(
    *,
    url: str | None,
    namespace: str,
    ca_bundle: str | os.PathLike[str] | None,
    connect_timeout: float | None,
    read_timeout: float | None,
    client_cert: str | None = None,
    client_key: str | None = None,
    tls_server_name: str | None = None,
    through_agent: bool = False,
) -> Endpoint:
    """Make an `Endpoint` from options, and from VAULT_ADDR, VAULT_CACERT, VAULT_CAPATH, VAULT_CLIENT_CERT,
    VAULT_CLIENT_KEY and VAULT_TLS_SERVER_NAME, or their twins of OpenBao, ``BAO_…``. ``through_agent``:
    VAULT_AGENT_ADDR goes before VAULT_ADDR.

    Raises:
        ConfigurationError: an option is missing or wrong.
    """
    url = url or (read_variable("AGENT_ADDR") if through_agent else None) or read_variable("ADDR")
    if not url:
        agent = ", of an agent also VAULT_AGENT_ADDR or endpoint=unix:///PATH" if through_agent else ""
        raise ConfigurationError(f"no Vault address: set VAULT_ADDR or endpoint=https://HOST:8200{agent}")
    bundle = ca_bundle or read_variable("CACERT") or read_variable("CAPATH")
    verify = os.path.expanduser(bundle) if bundle else True  # noqa: PTH111 - requests takes a text
    if verify is not True and not os.path.exists(verify):  # noqa: PTH110
        raise ConfigurationError(
            f"Vault setting ca_bundle: {show_path(verify)} does not exist (also VAULT_CACERT, VAULT_CAPATH)"
        )
    return Endpoint(
        _address(url),
        namespace,
        verify,
        seconds("connect_timeout", connect_timeout, CONNECT_TIMEOUT),
        seconds("read_timeout", read_timeout, READ_TIMEOUT),
        _own_certificate(client_cert, client_key),
        _server_name(tls_server_name),
    )


def _address(url: str) -> str:
    if not isinstance(url, str) or not url.startswith(_SOCKET):
        return check_url("endpoint", url, path=True)
    path = url[len(_SOCKET) :]
    if not path.startswith("/") or not path.isprintable() or len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise ConfigurationError(
            f"option endpoint: a socket is unix:///PATH, with three slashes and at most {_LONGEST_SOCKET} bytes of path"
        )
    return url


def _own_certificate(certificate: str | None, key: str | None) -> tuple[str, str] | str | None:
    """Find the certificate and key of this client. The environment's key never goes with a certificate given here."""
    names = ("client_cert", "client_key")
    if certificate is None and key is None:
        names = ("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY")
        certificate, key = read_variable("CLIENT_CERT"), read_variable("CLIENT_KEY")
    certificate, key = (os.path.expanduser(path) if path else path for path in (certificate, key))  # noqa: PTH111
    for name, path in zip(names, (certificate, key), strict=True):
        if path and not os.access(path, os.R_OK):
            why = "can't be read" if os.path.exists(path) else "does not exist"  # noqa: PTH110
            raise ConfigurationError(f"{name}: {show_path(path)} {why}")
    if key and not certificate:
        raise ConfigurationError(f"{names[1]} needs {names[0]} beside it")
    return (certificate, key) if certificate and key else certificate


def _server_name(name: str | None) -> str | None:
    name = name or read_variable("TLS_SERVER_NAME")
    if name and not _HOST.fullmatch(name):
        raise ConfigurationError("Vault setting tls_server_name must be a host name (also VAULT_TLS_SERVER_NAME)")
    return name
