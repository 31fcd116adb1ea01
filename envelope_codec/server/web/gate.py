"""The gate before the token is verified: an address that sent too many requests without a valid token is kept out."""

from __future__ import annotations

import hashlib

import jwt
from cachetools import LRUCache
from starlette.datastructures import Headers

from envelope_codec.observe import logger
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.web.limiter import Limiter, retry_after
from envelope_codec.server.web.network import network_of
from envelope_codec.server.web.refusal import Refusal

_KNOWN = 10_000
_EXTRAS = "authorization-extras"


class Gate:
    """Counts requests by address until their tokens are verified.

    Behind one address there may be a whole company. So callers who were verified there lately are let through, with the
    same token or with another of the same subject, while others from that address are kept out.

    Args:
        rate: how many such requests may come from one address, such as ``600/minute``; None for any number.
        behind_proxies: whether the settings name proxies, which tell the addresses.
    """

    def __init__(self, rate: str | None, *, behind_proxies: bool) -> None:
        self._addresses = Limiter(rate)
        self._returning = Limiter(rate)  # anyone who knows a subject's name can pretend to be it, but only so often
        # Two caches: one caller may have any number of tokens, and must not make the gate forget others by them.
        self._tokens: LRUCache[str, None] = LRUCache(_KNOWN)
        self._subjects: LRUCache[str, None] = LRUCache(_KNOWN)
        self._warned = behind_proxies

    def enter(self, headers: Headers, client: str) -> Entrance:
        """Let a request in whose token is not verified yet.

        Raises:
            Refusal: too many such requests have come from its address.
        """
        if not self._warned and "x-forwarded-for" in headers:
            self._warned = True
            logger.warning(
                "requests come with X-Forwarded-For, and server.trusted_proxies is not set: all that come through one "
                "proxy are counted as one address"
            )
        address, token = network_of(client), headers.get("authorization", "")
        if _EXTRAS in headers:  # the one that is believed may be there
            token = f"{token}\0{headers[_EXTRAS]}"
        entrance = Entrance(self, address, token)
        if self._tokens.pop(_digest(token), _MISSING) is not _MISSING:  # `remember` puts it back
            return entrance
        seconds = self._addresses.take(address)
        if not seconds:
            entrance.counted.append((self._addresses, address))
            return entrance
        subject = _digest(address, *_read_claims(token))
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
        """Remember a token that was verified, and its subject."""
        if principal.issuer:
            self._tokens[_digest(token)] = None
            self._subjects[_digest(address, principal.issuer, principal.subject)] = None


class Entrance:
    """One request at the gate.

    Attributes:
        counted: the limiters that counted it, each with the name that it was counted under.
    """

    def __init__(self, gate: Gate, address: str, token: str) -> None:
        self._gate = gate
        self._address = address
        self._token = token
        self.counted: list[tuple[Limiter, str]] = []

    def uncount(self) -> None:
        """Count the request no more: its token is valid."""
        for limiter, name in self.counted:
            limiter.give_back(name)

    def remember(self, principal: Principal) -> None:
        """Remember the caller, who was let in, so that the gate lets in the next request as well."""
        self._gate.remember(self._address, self._token, principal)


_MISSING = object()


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()


def _read_claims(tokens: str) -> tuple[str, str]:
    """Return the issuer and the subject that the first JWT names. It is not verified."""
    for text in tokens.split("\0"):
        try:
            claims = jwt.decode(text.strip().rpartition(" ")[2], options={"verify_signature": False})
        except jwt.PyJWTError:
            continue
        return str(claims.get("iss", "")), str(claims.get("sub", ""))
    return "", ""
