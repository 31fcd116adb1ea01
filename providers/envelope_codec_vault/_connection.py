"""The connections to one Vault address, and hvac clients on them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import hvac
import requests

from envelope_codec_vault._adapter import NamedAdapter, PlainAdapter, SocketAdapter
from envelope_codec_vault._endpoint import Endpoint
from envelope_codec_vault._errors import RedirectRefused

# Each hop costs up to a read time-out, and Vault needs one.
_MAX_REDIRECTS = 2
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Connection:
    """A pool of connections to an `Endpoint`; opened by the first request, and shared by the clients on it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session = requests.Session()
        self._session.verify = endpoint.verify
        self._session.cert = endpoint.certificate
        self._session.max_redirects = _MAX_REDIRECTS
        self._session.hooks["response"].append(refuse_other_origin)
        name, path = endpoint.tls_server_name, endpoint.socket
        self._session.mount("https://", NamedAdapter(name) if name else PlainAdapter())
        self._session.mount("http://", SocketAdapter(path) if path else PlainAdapter())
        # A proxy or a netrc of the environment has no business on a socket.
        self._session.trust_env = not path

    def client(self, token: str) -> hvac.Client:
        """Make a client with this token. An empty one is not sent, and keeps hvac from looking for a token itself."""
        return hvac.Client(
            url=self._endpoint.url,
            token=token,
            namespace=self._endpoint.namespace or None,
            timeout=(self._endpoint.connect_timeout, self._endpoint.read_timeout),  # type: ignore[arg-type]
            session=self._session,
        )

    def close(self) -> None:
        self._session.close()


def refuse_other_origin(reply: requests.Response, *_: Any, **__: Any) -> requests.Response:
    """Keep redirects within scheme, host and port: a hook of requests.

    requests strips only the Authorization header when it follows a redirect elsewhere: X-Vault-Token would go along,
    and with 307, Vault's own, the body too, which holds the secret to wrap. Standby nodes forward requests; they
    redirect only where forwarding is off, and then to the cluster's ``api_addr``, which is the address to configure.
    """
    if reply.is_redirect and _origin(reply.url, reply.headers["location"]) != _origin(reply.url):
        raise RedirectRefused("redirect to another origin refused: configure the address that Vault redirects to")
    return reply


def _origin(url: str, location: str = "") -> tuple[str, str | None, int | None] | None:
    """Return scheme, host and port of ``url``, or of ``location`` as seen from there. None if that is no URL."""
    try:
        location.encode("latin-1").decode()  # as requests reads it
        parts = urlsplit(urljoin(url, location))
        return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
