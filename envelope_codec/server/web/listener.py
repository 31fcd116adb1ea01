"""The sockets that the server listens at."""

from __future__ import annotations

import errno
import socket
from typing import Any

from envelope_codec.errors import ConfigurationError
from envelope_codec.server.web.address import Address, is_loopback

IN_USE = "address-in-use"
"""Reason code of the error that something listens at the address already."""

_NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def bind(address: Address) -> list[socket.socket]:
    """Bind sockets to every number that the host has. They do not listen yet.

    Raises:
        ConfigurationError: one can't be bound, or ``localhost`` is not this machine.
    """
    bound: list[socket.socket] = []
    try:
        _bind_all(address, bound)
    except OSError as error:
        _close(bound)
        failure = ConfigurationError(f"server.listen: can't listen on {address}: {error.strerror}")
        failure.code = IN_USE if error.errno == errno.EADDRINUSE else None
        raise failure from None
    except ConfigurationError:
        _close(bound)
        raise
    return bound


def address_of(listener: socket.socket) -> Address:
    """Return the address that ``listener`` is bound to."""
    host, port = listener.getsockname()[:2]
    return Address(str(host), int(port))


def _bind_all(address: Address, bound: list[socket.socket]) -> None:
    """Add a socket to ``bound`` for each number of the host, all with one port."""
    port = address.port
    for family, where in _resolve(address):
        if address.is_loopback and not is_loopback(where[0]):
            raise ConfigurationError(f"server.listen: {address.host!r} is not this machine, but {where[0]}")
        try:
            listener = _bind_one(family, (where[0], port, *where[2:]))
        except OSError as error:
            if error.errno in _NO_SUCH_FAMILY and bound:
                continue  # a machine without IPv6 may still know such a number of its localhost
            raise
        bound.append(listener)
        port = port or int(listener.getsockname()[1])


def _resolve(address: Address) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the family and the socket address of each number, IPv4 first."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return sorted({(int(family), where) for family, _, _, _, where in found})


def _bind_one(family: int, where: tuple[Any, ...]) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is given. With it, every answer takes 40 ms.
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
