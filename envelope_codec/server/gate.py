"""The gate before the token: where too many requests came from without one that is believed, others are kept out."""

from __future__ import annotations

import hashlib

from cachetools import LRUCache
from starlette.datastructures import Headers

from envelope_codec.observe import logger
from envelope_codec.server.address import network_of
from envelope_codec.server.limiter import Limiter, retry_after
from envelope_codec.server.refusal import Refusal

_TOKENS = 10_000


class Gate:
    """Counts requests by address until it is known who makes them.

    Whoever has been believed comes in by the same token, also from an address whose others are kept out: behind one
    address there may be a whole company.

    Args:
        rate: how many there may be from one address, such as ``600/minute``; None for any.
        behind_proxies: whether addresses are told by proxies that the settings name.
    """

    def __init__(self, rate: str | None, *, behind_proxies: bool) -> None:
        self._limiter = Limiter(rate)
        self._believed: LRUCache[bytes | None, None] = LRUCache(_TOKENS)
        self._warned = behind_proxies

    def enter(self, headers: Headers, client: str) -> Entrance:
        """Let a request in that nobody is known to make yet.

        Raises:
            Refusal: too many such have come from there.
        """
        if not self._warned and "x-forwarded-for" in headers:
            self._warned = True
            logger.warning(
                "requests come with X-Forwarded-For, and server.trusted_proxies is not set: all that come through one "
                "proxy are counted as one address"
            )
        address, token = network_of(client), _digest(headers)
        known = token is not None and token in self._believed
        if known:
            self._believed.pop(token, None)  # until it is believed again
        else:
            seconds = self._limiter.take(address)
            if seconds:
                raise Refusal(
                    429,
                    "too_many_from_address",
                    "Too many requests without a token that is believed have come from your address.",
                    headers=retry_after(seconds),
                )
        return Entrance(self, None if known else address, token)

    def _let_in(self, address: str | None, token: bytes | None) -> None:
        if token is not None:
            self._believed[token] = None
        if address is not None:
            self._limiter.give_back(address)


class Entrance:
    """One request at the gate."""

    def __init__(self, gate: Gate, address: str | None, token: bytes | None) -> None:
        self._gate = gate
        self._address = address
        self._token = token

    def believed(self) -> None:
        """It is known now who makes it."""
        self._gate._let_in(self._address, self._token)


def _digest(headers: Headers) -> bytes | None:
    given = headers.get("authorization")
    return None if given is None else hashlib.sha256(given.encode("latin-1", "replace")).digest()
