"""By which names the server is reached: a page of the internet that has this machine's address renamed uses another."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from envelope_codec.server.config import ServerConfig

_HOST = re.compile(r"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\])(?::\d{1,5})?")


class Hosts:
    """What the header ``Host`` may say.

    Numbers can't be renamed; ``localhost`` is nobody else's. None at all no browser sends.

    Args:
        server: ``url``, ``listen`` and ``hosts`` name it.
    """

    def __init__(self, server: ServerConfig) -> None:
        names = [*server.hosts, *(address.host for address in server.addresses), socket.gethostname()]
        if server.url is not None:
            names.append(urlsplit(server.url).hostname or "")
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    def allows(self, header: str) -> bool:
        """Whether the server goes by this name."""
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
