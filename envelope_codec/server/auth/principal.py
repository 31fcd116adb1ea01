"""The principal: who makes a request, as far as that is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envelope_codec.server.web.network import network_of

# These claims are about one token only. An ID token never says what may be done with an access token.
_OWN = frozenset(("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "at_hash", "c_hash", "scope", "scp"))

EMAIL = "email"
_VERIFIED = "email_verified"


@dataclass(frozen=True)
class Principal:
    """A caller. Without a token, all fields are empty.

    Attributes:
        issuer: of the access token; "" without one.
        subject: the ``sub`` of the token; "" without one.
        claims: those of the access token, and those that the ID token adds.
        id_token: what became of the ID token: ``used``, the reason why it was not used, or "" if there was none.
    """

    issuer: str = ""
    subject: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    id_token: str = ""

    @property
    def email(self) -> str:
        """The email address, if one counts; else ""."""
        found = self.claims.get(EMAIL)
        return found if isinstance(found, str) else ""


def merge_claims(claims: Mapping[str, Any], id_claims: Mapping[str, Any], email_claim: str) -> dict[str, Any]:
    """Return the claims of an access token, and those that it lacks from the ID token of the same subject.

    The email address ends up in ``email``, whatever the issuer calls it. It counts only if the token that it is in does
    not say that it is unverified.

    Args:
        claims: of the access token.
        id_claims: of the ID token.
        email_claim: the issuer's name for the email address.
    """
    added = {name: value for name, value in id_claims.items() if name not in _OWN}
    names = (EMAIL, email_claim)
    if _has_any(claims, names):
        added = {name: value for name, value in added.items() if name not in (*names, _VERIFIED)}
    elif _has_any(added, names):
        claims = {name: value for name, value in claims.items() if name != _VERIFIED}
    return _settle_email({**added, **claims}, email_claim)


def caller_key(principal: Principal, client: str) -> str:
    """Return the name that a caller is counted under: a digest of the token's subject, or of the address.

    Args:
        principal: who makes the request.
        client: the address that the request came from. For IPv6 its network counts.
    """
    who = f"{principal.issuer}\0{principal.subject}" if principal.issuer else network_of(client)
    return hashlib.sha256(who.encode("utf-8", "replace")).hexdigest()


def _has_any(claims: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return any(name in claims for name in names)


def _settle_email(claims: dict[str, Any], email_claim: str) -> dict[str, Any]:
    """Put the email address into ``email``, or take it away if it is unverified."""
    if claims.get(_VERIFIED, True) not in (True, "true"):
        return {name: value for name, value in claims.items() if name not in (EMAIL, email_claim)}
    if email_claim in claims:
        claims[EMAIL] = claims[email_claim]
    return claims
