"""Fetching a JWKS from the web: under our name, through the proxies of the environment, and no more than fits."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    BaseHandler,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
    getproxies,
    getproxies_environment,
    proxy_bypass,
)

from envelope_codec import __version__
from envelope_codec.server.web.address import Address

LARGEST = 2**20
"""Bytes of a reply."""

_PIECE = 65_536
_HEADERS = {
    # Python's own name is refused by firewalls in front of some issuers.
    "User-Agent": f"temporal-envelope-codec/{__version__}",
    "Accept": "application/json",
}


class FetchFailed(Exception):
    """There is no JWKS to be had; the text says why, in words of this module."""


class _Deadline:
    """Ends a connection at a time, whatever is waited for on it: each byte that comes lets a time-out begin anew.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._connection: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()
        self.over = False

    def connect(self, *arguments: Any, **options: Any) -> socket.socket:
        """See `socket.create_connection`."""
        made = socket.create_connection(*arguments, **options)
        self._connection = made.dup()  # TLS takes the other away
        if self.over:
            self._shut(self._connection)
        return made

    def close(self) -> None:
        """Wait no longer."""
        self._timer.cancel()
        if self._connection is not None:
            self._connection.close()

    def _end(self) -> None:
        self.over = True
        if self._connection is not None:
            self._shut(self._connection)

    def _shut(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Http(HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: Request) -> Any:
        """See `HTTPHandler.http_open`."""
        return self.do_open(partial(_made, HTTPConnection, self._deadline), req)


class _Https(HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: Request) -> Any:
        """See `HTTPSHandler.https_open`."""
        return self.do_open(partial(_made, HTTPSConnection, self._deadline), req)


def _made(kind: type[HTTPConnection], deadline: _Deadline, *arguments: Any, **options: Any) -> HTTPConnection:
    connection = kind(*arguments, **options)
    connection._create_connection = deadline.connect  # type: ignore[attr-defined]
    return connection


class _NoRedirects(HTTPRedirectHandler):
    """An issuer's keys are where the settings say, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """See `HTTPRedirectHandler.redirect_request`."""


def shown(url: str) -> str:
    """``url`` for logs and reports: without its query, in which some issuers' hosts want a token."""
    return url.partition("#")[0].partition("?")[0]


def fetch_jwks(url: str, *, timeout: float) -> Any:
    """The JSON at ``url``.

    ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` are heeded; what is on loopback is asked directly.

    Args:
        url: as the settings check it.
        timeout: seconds for all of it.

    Raises:
        FetchFailed: it can't be had.
    """
    deadline = _Deadline(timeout)
    try:
        body = _body(url, timeout, deadline)
    except FetchFailed:
        if not deadline.over:
            raise
    finally:
        deadline.close()
    if deadline.over:
        raise FetchFailed("the answer takes too long")
    try:
        return json.loads(body)
    except ValueError:
        raise FetchFailed("the answer is no JSON") from None


def _body(url: str, timeout: float, deadline: _Deadline) -> bytes:
    request = Request(url, headers=_HEADERS)  # noqa: S310 - the settings take http and https alone
    try:
        with _opener(url, _Http(deadline), _Https(deadline)).open(request, timeout=0.9 * timeout) as response:
            return _read(response)
    except HTTPError as error:
        error.close()
        raise FetchFailed(f"it is answered with status {error.code}") from None
    except URLError as error:
        raise FetchFailed(f"no connection: {type(error.reason).__name__}: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise FetchFailed(f"the answer broke off: {type(error).__name__}") from None
    except ValueError:  # not its words, which repeat the URL with its password
        raise FetchFailed("HTTPS_PROXY or HTTP_PROXY is no URL of a proxy") from None


def _read(response: Any) -> bytes:
    taken = bytearray()
    while piece := response.read1(_PIECE):
        taken += piece
        if len(taken) > LARGEST:
            raise FetchFailed(f"the answer is larger than {LARGEST} bytes")
    return bytes(taken)


def _opener(url: str, *handlers: BaseHandler) -> OpenerDirector:
    parts = urlsplit(url)
    host = parts.hostname or ""
    direct = Address(host, 0).is_loopback or bool(proxy_bypass(parts.netloc)) or _in_network_without_proxy(host)
    return build_opener(ProxyHandler({} if direct else getproxies()), _NoRedirects, *handlers)


def _in_network_without_proxy(host: str) -> bool:
    """Whether ``NO_PROXY`` names a network, such as 10.0.0.0/8, that this number is in. Python knows names alone."""
    try:
        number = ip_address(host)
    except ValueError:
        return False
    for entry in getproxies_environment().get("no", "").split(","):
        try:
            if "/" in entry and number in ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
