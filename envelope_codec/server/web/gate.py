"""The gate before the token: where too many requests came from without one that is believed, others are kept out."""

from __future__ import annotations

import hashlib

import jwt
from cachetools import LRUCache
from starlette.datastructures import Headers

from envelope_codec.observe import logger
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.web.address import network_of
from envelope_codec.server.web.limiter import Limiter, retry_after
from envelope_codec.server.web.refusal import Refusal

_KNOWN = 10_000


class Gate:
    """Counts requests by address until it is known who makes them.

    Behind one address there may be a whole company. So whoever has been believed there of late is let through, by the
    same token or by another of the same subject, while others from that address are kept out.

    Args:
        rate: how many there may be from one address, such as ``600/minute``; None for any.
        behind_proxies: whether addresses are told by proxies that the settings name.
    """

    def __init__(self, rate: str | None, *, behind_proxies: bool) -> None:
        self._addresses = Limiter(rate)
        self._returning = Limiter(rate)  # whoever knows a subject's name may pretend to be it: only so often
        # Apart: one caller may have any number of tokens, and must not make the gate forget others by them.
        self._tokens: LRUCache[str, None] = LRUCache(_KNOWN)
        self._subjects: LRUCache[str, None] = LRUCache(_KNOWN)
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
        address, token = network_of(client), headers.get("authorization", "")
        entrance = Entrance(self, address, token)
        if self._tokens.pop(_digest(token), _MISSING) is not _MISSING:  # until it is believed again
            return entrance
        seconds = self._addresses.take(address)
        if not seconds:
            entrance.counted.append((self._addresses, address))
            return entrance
        subject = _digest(address, *_claimed(token))
        if subject not in self._subjects or self._returning.take(subject):
            raise Refusal(
                429,
                "too_many_from_address",
                "Too many requests without a token that is believed have come from your address.",
                headers=retry_after(seconds),
            )
        entrance.counted.append((self._returning, subject))
        return entrance

    def remember(self, address: str, token: str, principal: Principal) -> None:
        """Take note of who has been believed."""
        if principal.issuer:
            self._tokens[_digest(token)] = None
            self._subjects[_digest(address, principal.issuer, principal.subject)] = None


class Entrance:
    """One request at the gate.

    Attributes:
        counted: where, and as what.
    """

    def __init__(self, gate: Gate, address: str, token: str) -> None:
        self._gate = gate
        self._address = address
        self._token = token
        self.counted: list[tuple[Limiter, str]] = []

    def believed(self, principal: Principal) -> None:
        """It is known now who makes it: it does not count any more."""
        for limiter, name in self.counted:
            limiter.give_back(name)

    def admitted(self, principal: Principal) -> None:
        """It was let in, so that the next of the same caller may be."""
        self._gate.remember(self._address, self._token, principal)


_MISSING = object()


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()


def _claimed(authorization: str) -> tuple[str, str]:
    """Issuer and subject that a token names, whether or not it is to be believed."""
    try:
        claims = jwt.decode(authorization.partition(" ")[2].strip(), options={"verify_signature": False})
    except jwt.PyJWTError:
        return "", ""
    return str(claims.get("iss", "")), str(claims.get("sub", ""))
