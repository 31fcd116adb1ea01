"""The names that the server goes by. A page that rebinds its own name to this machine's address uses another name."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from envelope_codec.server.config import ServerConfig

_HOST = re.compile(r"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\])(?::\d{1,5})?")


class Hosts:
    """The values that the header ``Host`` may have.

    Numbers are allowed, since they can't be rebound, and so is ``localhost``, since it is nobody else's. A request
    without the header is allowed, since it comes from no browser.

    Args:
        server: its settings ``url``, ``listen`` and ``hosts`` hold the names.
    """

    def __init__(self, server: ServerConfig) -> None:
        names = [*server.hosts, *(address.host for address in server.addresses), socket.gethostname()]
        if server.url is not None:
            names.append(urlsplit(server.url).hostname or "")
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    def allows(self, header: str) -> bool:
        """Return whether the server goes by the name in this header."""
        found = _HOST.fullmatch(header)
        if found is None:
            return not header
        name = (found[1] or found[2]).lower().rstrip(".")
        return name in self._names or name == "localhost" or name.endswith(".localhost") or _is_number(name)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
