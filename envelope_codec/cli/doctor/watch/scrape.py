"""One request to the endpoint of a worker or a codec server, within bounds of size and time."""

from __future__ import annotations

import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

from envelope_codec import __version__

LARGEST = 4 * 2**20
"""The most bytes that are read of an answer."""

_PIECE = 65_536
_HEADERS = {"Accept": "text/plain", "User-Agent": f"temporal-envelope-codec/{__version__}"}


class ScrapeFailed(Exception):
    """There are no metrics to be had. The text says why, in words of this module."""


class AddressUnusable(ValueError):
    """What should be the address of an endpoint is none. The text says why."""


def parse_address(url: str) -> SplitResult:
    """Return the parts of an endpoint's URL. Without a path, it is ``/metrics``, as exporters have it.

    Raises:
        AddressUnusable: it is no URL of HTTP, or holds a user or password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise AddressUnusable(f"{url!r} is no address of metrics: give one such as http://localhost:9464/metrics")
    if parts.username or parts.password:
        raise AddressUnusable("an address of metrics must hold no user or password")
    return parts._replace(path=parts.path or "/metrics")


def scrape(address: SplitResult, seconds: float) -> str:
    """Return the metrics at ``address``. It ends soon after ``seconds``, and asks no proxy and follows nowhere.

    Raises:
        ScrapeFailed: there are none to be had.
    """
    end = time.monotonic() + seconds
    kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=seconds)
    try:
        target = address.path + (f"?{address.query}" if address.query else "")
        connection.request("GET", target, headers=_HEADERS)
        response = connection.getresponse()
        if response.status != 200:
            raise ScrapeFailed(f"answers with status {response.status}")
        body = bytearray()
        while piece := response.read1(_PIECE):
            body += piece
            if len(body) > LARGEST:
                raise ScrapeFailed(f"answers with more than {LARGEST // 2**20} MiB")
            if time.monotonic() > end:
                raise ScrapeFailed("gives no whole answer in time")
    except TimeoutError:
        raise ScrapeFailed("gives no answer in time") from None
    except (OSError, HTTPException, ValueError):
        raise ScrapeFailed("can't be reached, or answers with something else than HTTP") from None
    finally:
        connection.close()
    return body.decode("utf-8", "replace")
