"""Who makes a request, as far as is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Of the token that they are in alone. What may be done with a token is never in an ID token.
_OWN = frozenset(("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "at_hash", "c_hash", "scope", "scp"))

EMAIL = "email"
_VERIFIED = "email_verified"


@dataclass(frozen=True)
class Principal:
    """Somebody, or nobody in particular.

    Attributes:
        issuer: whose token it is; "" without one.
        subject: its ``sub``; "" without one.
        claims: what it says, and what the ID token adds.
        id_token: what became of the ID token: ``used``, why it was not, or "" if there was none.
    """

    issuer: str = ""
    subject: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    id_token: str = ""

    @property
    def email(self) -> str:
        """The address that counts, or ""."""
        found = self.claims.get(EMAIL)
        return found if isinstance(found, str) else ""


def joined(claims: Mapping[str, Any], id_claims: Mapping[str, Any], email_claim: str) -> dict[str, Any]:
    """The claims of an access token, with those that it lacks from the ID token of the same subject.

    An address is ``email``, whatever the issuer calls it, and counts only if the same token does not say that it is
    unverified.
    """
    found = {name: value for name, value in id_claims.items() if name not in _OWN}
    if any(name in claims for name in (EMAIL, email_claim)):
        for name in (EMAIL, email_claim, _VERIFIED):
            found.pop(name, None)
    elif any(name in found for name in (EMAIL, email_claim)):
        claims = {name: value for name, value in claims.items() if name != _VERIFIED}
    found.update(claims)
    if found.get(_VERIFIED, True) not in (True, "true"):
        found.pop(EMAIL, None)
        found.pop(email_claim, None)
    elif email_claim in found:
        found[EMAIL] = found[email_claim]
    return found
