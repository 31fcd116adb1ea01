"""Fetching a JWKS from the web: under our name, through the proxies of the environment, and no more than fits."""

from __future__ import annotations

import json
import time
from http.client import HTTPException
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
    getproxies,
    getproxies_environment,
    proxy_bypass,
)

from envelope_codec import __version__
from envelope_codec.server.address import Address

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
    end = time.monotonic() + timeout
    request = Request(url, headers=_HEADERS)  # noqa: S310 - the settings take http and https alone
    try:
        with _opener(url).open(request, timeout=timeout) as response:
            body = _read(response, end)
    except HTTPError as error:
        error.close()
        raise FetchFailed(f"it is answered with status {error.code}") from None
    except URLError as error:
        raise FetchFailed(f"no connection: {type(error.reason).__name__}: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise FetchFailed(f"the answer broke off: {type(error).__name__}") from None
    except ValueError:  # not its words, which repeat the URL with its password
        raise FetchFailed("HTTPS_PROXY or HTTP_PROXY is no URL of a proxy") from None
    try:
        return json.loads(body)
    except ValueError:
        raise FetchFailed("the answer is no JSON") from None


def _read(response: Any, end: float) -> bytes:
    """The body, by ``end``: the connection's own time-out begins anew with each byte that comes."""
    taken = bytearray()
    while piece := response.read1(_PIECE):
        taken += piece
        if len(taken) > LARGEST:
            raise FetchFailed(f"the answer is larger than {LARGEST} bytes")
        if time.monotonic() > end:
            raise FetchFailed("the answer takes too long")
    return bytes(taken)


def _opener(url: str) -> OpenerDirector:
    parts = urlsplit(url)
    host = parts.hostname or ""
    direct = Address(host, 0).is_loopback or bool(proxy_bypass(parts.netloc)) or _in_network_without_proxy(host)
    return build_opener(ProxyHandler({} if direct else getproxies()), _NoRedirects)


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
