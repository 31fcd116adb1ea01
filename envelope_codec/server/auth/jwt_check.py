"""The check of a JWT, which PyJWT makes, and the reasons why one is not believed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jwt

from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.verification_keys import VerificationKeys

_REQUIRED = ["exp", "iss", "aud", "sub"]
_JSON_OBJECT = re.compile(r"e[w-z0-9_+/-]")  # "{" in base64
_JWE_PARTS = 5
_OTHER_TYPES = ("at+jwt", "logout+jwt")  # of tokens that may have an ID token's audience, and are none

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidAudienceError, "The token was made for another audience."),
    (jwt.MissingRequiredClaimError, "The token lacks exp, iss, aud or sub."),
    (jwt.InvalidAlgorithmError, "The token is signed with an algorithm that its issuer may not use."),
    (jwt.InvalidSignatureError, "The token's signature does not verify."),
)
NO_TOKEN = "The token is no JWT that this server can take."  # noqa: S105 - a sentence


async def verify(token: str, issuer: Issuer, keys: VerificationKeys, audience: Sequence[str]) -> dict[str, Any]:
    """Return the claims of a token of ``issuer``.

    Raises:
        jwt.PyJWTError: it is not valid.
        KeysUnavailable: the issuer's keys can't be had.
    """
    kid = jwt.get_unverified_header(token).get("kid")
    key = await keys.find(kid if isinstance(kid, str) else None)
    if key is None:
        raise jwt.InvalidSignatureError("no key has the token's kid")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key=key,
            algorithms=list(issuer.allowed_algorithms),
            audience=list(audience),
            issuer=issuer.issuer,
            leeway=issuer.leeway,
            options={"require": _REQUIRED},
        )
    except (TypeError, ValueError):  # the token names an algorithm for another kind of key
        raise jwt.InvalidAlgorithmError from None
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise jwt.MissingRequiredClaimError("sub")
    return claims


async def verify_id_token(
    token: str, issuer: Issuer, keys: VerificationKeys, audience: Sequence[str]
) -> dict[str, Any]:
    """Return the claims of an ID token of ``issuer``. As `verify`, but refuses other tokens for the same audience."""
    claims = await verify(token, issuer, keys, audience)
    kind = str(jwt.get_unverified_header(token).get("typ", "")).lower().removeprefix("application/")
    if kind in _OTHER_TYPES or "events" in claims:  # OpenID Connect Back-Channel Logout has events in logout tokens
        raise jwt.InvalidTokenError("no ID token")
    return claims


def is_jwt(token: str) -> bool:
    """Return whether ``token`` has the form of a signed JWT, be it one that can't be read. Encrypted ones have not."""
    parts = token.split(".")
    return len(parts) > 2 and len(parts) != _JWE_PARTS and _JSON_OBJECT.match(parts[0]) is not None


def name_issuer(token: str) -> str | None:
    """Return the issuer that a JWT names, which nobody has verified; None if it names none.

    Raises:
        jwt.PyJWTError: it is no JWT.
    """
    name = jwt.decode(token, options={"verify_signature": False}).get("iss")
    return name if isinstance(name, str) else None


def tell_reason(error: jwt.PyJWTError) -> str:
    """Return why a token is not believed, for people."""
    return next((said for kind, said in _REASONS if isinstance(error, kind)), NO_TOKEN)
