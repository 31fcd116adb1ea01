"""Bearer tokens: from the headers of a request to who makes it. The verifying itself is PyJWT's."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import jwt
from starlette.datastructures import Headers

from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.keys import Keys, KeysUnavailable, RemoteKeys, keys_of
from envelope_codec.server.auth.principal import Principal, joined
from envelope_codec.server.web.address import network_of
from envelope_codec.server.web.refusal import Refusal

_REQUIRED = ["exp", "iss", "aud", "sub"]

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidAudienceError, "The token was made for another audience."),
    (jwt.MissingRequiredClaimError, "The token lacks exp, iss, aud or sub."),
    (jwt.InvalidAlgorithmError, "The token is signed with an algorithm that its issuer may not use."),
    (jwt.InvalidSignatureError, "The token's signature does not verify."),
)
_NO_TOKEN = "The token is no JWT that this server can take."  # noqa: S105 - a sentence


class Tokens:
    """Tells by their tokens who makes requests.

    Args:
        issuers: whose tokens are believed; with none, everyone is nobody in particular.

    Raises:
        ConfigurationError: the keys of one can't be read.
    """

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers: dict[str, tuple[Issuer, Keys]] = {issuer.issuer: (issuer, keys_of(issuer)) for issuer in issuers}

    async def check(self) -> dict[str, str]:
        """Issuers whose keys can't be had, and why."""
        remote = {name: keys for name, (_, keys) in self._issuers.items() if isinstance(keys, RemoteKeys)}
        found = await asyncio.gather(*(keys.check() for keys in remote.values()))
        return {name: problem for name, problem in zip(remote, found, strict=True) if problem}

    async def principal(self, headers: Headers) -> Principal:
        """Who makes a request with these headers.

        Raises:
            Refusal: it has no token, or one that is not believed, or the keys to tell can't be had.
        """
        if not self._issuers:
            return Principal()
        issuer, claims = await self._access(_bearer(headers))
        id_claims, said = await self._id_claims(headers, issuer, claims)
        return Principal(issuer.issuer, str(claims["sub"]), joined(claims, id_claims, issuer.email_claim), said)

    async def _access(self, token: str) -> tuple[Issuer, dict[str, Any]]:
        try:
            issuer, keys = self._issuer(token)
            return issuer, await _verified(token, issuer, keys, issuer.audience)
        except jwt.PyJWTError as error:
            raise _unbelievable(_reason(error)) from None
        except KeysUnavailable:
            raise Refusal(503, "keys_unavailable", "The keys of the token's issuer can't be had. Try again.") from None

    async def _id_claims(self, headers: Headers, issuer: Issuer, claims: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """What an ID token adds. Whatever is wrong with it, the access token stands for itself."""
        given = headers.getlist("authorization-extras")
        if not given:
            return {}, ""
        try:
            token = given[0].removeprefix("Bearer ").strip()
            found, keys = self._issuer(token)
            if len(given) > 1 or found is not issuer:
                return {}, "of another issuer"
            added = await _verified(token, issuer, keys, issuer.id_token_audience or issuer.audience)
        except (jwt.PyJWTError, KeysUnavailable) as error:
            return {}, type(error).__name__
        return (added, "used") if added["sub"] == claims["sub"] else ({}, "of another subject")

    def _issuer(self, token: str) -> tuple[Issuer, Keys]:
        """Whose keys are to verify it, as it says itself. Raises `jwt.PyJWTError`."""
        said = jwt.decode(token, options={"verify_signature": False}).get("iss")
        found = self._issuers.get(said) if isinstance(said, str) else None
        if found is None:
            raise jwt.InvalidIssuerError
        return found


async def _verified(token: str, issuer: Issuer, keys: Keys, audience: Sequence[str]) -> dict[str, Any]:
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
    except (TypeError, ValueError):  # the key is of another kind than the algorithm that the token names
        raise jwt.InvalidAlgorithmError from None
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise jwt.MissingRequiredClaimError("sub")
    return claims


def _bearer(headers: Headers) -> str:
    given = headers.getlist("authorization")
    if not given:
        raise Refusal(
            401, "unauthenticated", "The request has no bearer token.", headers={"WWW-Authenticate": "Bearer"}
        )
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise _unbelievable("The header Authorization must be given once, as Bearer and a token.")
    return token.strip()


def _unbelievable(message: str) -> Refusal:
    return Refusal(401, "invalid_token", message, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _reason(error: jwt.PyJWTError) -> str:
    return next((said for kind, said in _REASONS if isinstance(error, kind)), _NO_TOKEN)


def caller_key(principal: Principal, client: str) -> str:
    """What one caller is counted under: the subject of a token, or else an address, of IPv6 a network."""
    who = f"{principal.issuer}\0{principal.subject}" if principal.issuer else network_of(client)
    return hashlib.sha256(who.encode("utf-8", "replace")).hexdigest()
