"""The networks that clients come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress

_LONGEST_CLIENT = 100


def network_of(client: str) -> str:
    """Return the name that callers from ``client`` are counted under.

    It is the address, or for IPv6 the network of /64, which is what one site has. A text that is no number, such as a
    name that a proxy gives, counts as it is.
    """
    try:
        number = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client[:_LONGEST_CLIENT]
    mapped = getattr(number, "ipv4_mapped", None)
    if mapped is not None or number.version == 4:
        return str(mapped or number)
    return str(ipaddress.ip_network((number, 64), strict=False))


class Networks:
    """A set of addresses and networks, such as ``10.0.0.0/8``.

    ``*`` stands for any address. A text that is neither an address nor a network is compared to the letter.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._any = "*" in names
        self._names = frozenset(names)
        self._networks = []
        for name in names:
            with suppress(ValueError):
                self._networks.append(ipaddress.ip_network(name))

    def __contains__(self, client: str) -> bool:
        if self._any or client in self._names:
            return True
        try:
            number = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(number in network for network in self._networks)
