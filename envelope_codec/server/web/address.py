"""Where the server listens: ``HOST:PORT``, and whether only this machine can reach it there."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import shown_value

_LONGEST_CLIENT = 100
_NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Address(NamedTuple):
    """A host, by name or number, and a port; 0 for any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})", text)
        if match is None or int(match[3]) > 65_535:
            raise ValueError(f"{shown_value(text)} is no address: give HOST:PORT, or [IPV6]:PORT")
        return cls(match[1] or match[2], int(match[3]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. Of names, ``localhost`` alone is known to be so."""
        return self.host.lower() == "localhost" or is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a number of this machine's loopback network. Names are not looked up."""
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None)
    return number.is_loopback or bool(mapped and mapped.is_loopback)


def network_of(client: str) -> str:
    """What callers from ``client`` are counted under: the address, or of IPv6 the network of /64 that a site has.

    What is no number, such as a name that a proxy gives, is taken as it is.
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
    """Addresses and networks, such as ``10.0.0.0/8``; ``*`` is any. What is neither is compared to the letter."""

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


def bind(address: Address) -> list[socket.socket]:
    """Sockets bound to every number that the host has; not listening yet.

    Raises:
        ConfigurationError: one can't be bound, or ``localhost`` is not this machine.
    """
    bound: list[socket.socket] = []
    port = address.port
    try:
        for family, where in _numbers(address):
            if address.is_loopback and not is_loopback(where[0]):
                raise ConfigurationError(f"server.listen: {address.host!r} is not this machine, but {where[0]}")
            try:
                listener = _bound(family, (where[0], port, *where[2:]))
            except OSError as error:
                if error.errno in _NO_SUCH_FAMILY and bound:
                    continue  # a machine without IPv6 may still know such a number of its localhost
                raise
            bound.append(listener)
            port = port or int(listener.getsockname()[1])
    except OSError as error:
        _close(bound)
        raise ConfigurationError(f"server.listen: can't listen on {address}: {error.strerror}") from None
    except ConfigurationError:
        _close(bound)
        raise
    return bound


def _numbers(address: Address) -> list[tuple[int, tuple[Any, ...]]]:
    """Family and socket address of each, IPv4 first."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return sorted({(int(family), where) for family, _, _, _, where in found})


def _bound(family: int, where: tuple[Any, ...]) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is spelled out; every answer would take 40 ms else.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
    except OSError:
        listener.close()
        raise
    return listener


def _close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def bound_address(listener: socket.socket) -> Address:
    """Where ``listener`` is bound."""
    host, port = listener.getsockname()[:2]
    return Address(str(host), int(port))
