"""The fetch of JSON from an issuer: through the environment's proxies, and within bounds of size and time."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
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
"""The most bytes that are read of a reply."""

_PIECE = 65_536
_HEADERS = {
    # Python's own name is refused by firewalls in front of some issuers.
    "User-Agent": f"temporal-envelope-codec/{__version__}",
    "Accept": "application/json",
}


class FetchFailed(Exception):
    """The JSON can't be had. The text says why, in words of this module.

    Attributes:
        status: of the answer, if there was one that is no success; else 0.
        answered: whether there was an answer, of any status.
    """

    def __init__(self, said: str, status: int = 0, *, answered: bool = False) -> None:
        super().__init__(said)
        self.status = status
        self.answered = answered or status != 0


class _Deadline:
    """A time at which a connection ends. A time-out of the socket would begin anew with each byte that comes.

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
        """Open a connection, as `socket.create_connection` does, that ends at the deadline."""
        made = socket.create_connection(*arguments, **options)
        self._connection = made.dup()  # TLS takes over the other one
        if self.over:
            self._shut(self._connection)
        return made

    def close(self) -> None:
        """Cancel the deadline."""
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
        """Open a connection under the deadline."""
        return self.do_open(partial(_make_connection, HTTPConnection, self._deadline), req)


class _Https(HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: Request) -> Any:
        """Open a connection under the deadline."""
        return self.do_open(partial(_make_connection, HTTPSConnection, self._deadline), req)


def _make_connection(
    kind: type[HTTPConnection], deadline: _Deadline, *arguments: Any, **options: Any
) -> HTTPConnection:
    connection = kind(*arguments, **options)
    connection._create_connection = deadline.connect  # type: ignore[attr-defined]
    return connection


class _NoRedirects(HTTPRedirectHandler):
    """A handler that follows no redirect: what is asked for is where the settings say, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return None: the redirect is an error."""


def redact_url(url: str) -> str:
    """Return ``url`` for logs and reports, without its query: some hosts of issuers want a token there."""
    return url.partition("#")[0].partition("?")[0]


def fetch_json(
    url: str,
    *,
    timeout: float,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    largest: int = LARGEST,
) -> Any:
    """Return the JSON at ``url``, or the JSON with which it answers to a form.

    ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` count. A URL on loopback needs no proxy.

    Args:
        url: of a form that the settings allow.
        timeout: seconds for all of it.
        form: is posted, if it is given.
        headers: to send besides.
        largest: the most bytes that are read.

    Raises:
        FetchFailed: it can't be had.
    """
    deadline = _Deadline(timeout)
    try:
        body = _fetch(_make_request(url, form, headers), timeout, deadline, largest)
    except FetchFailed:
        if not deadline.over:
            raise
    finally:
        deadline.close()
    if deadline.over:
        raise FetchFailed("the answer takes too long")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise FetchFailed("the answer is no JSON", answered=True) from None


def _make_request(url: str, form: Mapping[str, str] | None, headers: Mapping[str, str] | None) -> Request:
    body = None if form is None else urlencode(form).encode()
    request = Request(url, body, _HEADERS)  # noqa: S310 - the settings take http and https alone
    for name, value in (headers or {}).items():
        request.add_unredirected_header(name, value)
    return request


def _fetch(request: Request, timeout: float, deadline: _Deadline, largest: int) -> bytes:
    opener = _make_opener(request.full_url, _Http(deadline), _Https(deadline))
    try:
        with opener.open(request, timeout=0.9 * timeout) as response:
            return _read(response, largest)
    except HTTPError as error:
        error.close()
        raise FetchFailed(f"it is answered with status {error.code}", error.code) from None
    except URLError as error:
        raise FetchFailed(f"no connection: {type(error.reason).__name__}: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise FetchFailed(f"the answer broke off: {type(error).__name__}") from None
    except ValueError:  # whose text repeats the proxy's URL, with its password
        raise FetchFailed("HTTPS_PROXY or HTTP_PROXY is no URL of a proxy") from None


def _read(response: Any, largest: int) -> bytes:
    taken = bytearray()
    while piece := response.read1(_PIECE):
        taken += piece
        if len(taken) > largest:
            raise FetchFailed(f"the answer is larger than {largest} bytes", answered=True)
    return bytes(taken)


def _make_opener(url: str, *handlers: BaseHandler) -> OpenerDirector:
    parts = urlsplit(url)
    host = parts.hostname or ""
    direct = Address(host, 0).is_loopback or bool(proxy_bypass(parts.netloc)) or _in_network_without_proxy(host)
    return build_opener(ProxyHandler({} if direct else getproxies()), _NoRedirects, *handlers)


def _in_network_without_proxy(host: str) -> bool:
    """Return whether ``NO_PROXY`` names a network, such as 10.0.0.0/8, that ``host`` is in. Python knows names only."""
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
