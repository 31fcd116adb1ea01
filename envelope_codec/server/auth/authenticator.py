"""Authentication by bearer tokens, which PyJWT verifies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import jwt
from starlette.datastructures import Headers

from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.key_file import load_keys
from envelope_codec.server.auth.principal import Principal, merge_claims
from envelope_codec.server.auth.remote_keys import RemoteKeys
from envelope_codec.server.auth.verification_keys import KeysUnavailable, VerificationKeys
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


class Authenticator:
    """Finds out who makes a request by its token.

    Args:
        issuers: those whose tokens are accepted. Without any, no token is asked for, and callers have no name.

    Raises:
        ConfigurationError: the keys of an issuer can't be read.
    """

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers: dict[str, tuple[Issuer, VerificationKeys]] = {
            issuer.issuer: (issuer, load_keys(issuer)) for issuer in issuers
        }

    async def check(self) -> dict[str, str]:
        """Return the issuers whose keys can't be had, and why."""
        remote = {name: keys for name, (_, keys) in self._issuers.items() if isinstance(keys, RemoteKeys)}
        found = await asyncio.gather(*(keys.check() for keys in remote.values()))
        return {name: problem for name, problem in zip(remote, found, strict=True) if problem}

    async def authenticate(self, headers: Headers) -> Principal:
        """Return who makes a request with these headers.

        Raises:
            Refusal: there is no token, or one that is not valid, or the keys to verify it can't be had.
        """
        if not self._issuers:
            return Principal()
        issuer, claims = await self._verify_access_token(_read_bearer(headers))
        id_claims, result = await self._verify_id_token(headers, issuer, claims)
        return Principal(issuer.issuer, str(claims["sub"]), merge_claims(claims, id_claims, issuer.email_claim), result)

    async def _verify_access_token(self, token: str) -> tuple[Issuer, dict[str, Any]]:
        try:
            issuer, keys = self._find_issuer(token)
            return issuer, await _verify(token, issuer, keys, issuer.audience)
        except jwt.PyJWTError as error:
            raise _refuse_token(_reason(error)) from None
        except KeysUnavailable:
            raise Refusal(503, "keys_unavailable", "The keys of the token's issuer can't be had. Try again.") from None

    async def _verify_id_token(
        self, headers: Headers, issuer: Issuer, claims: dict[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """Return the claims of the ID token, and what became of it. If it is not valid, the access token is enough."""
        given = headers.getlist("authorization-extras")
        if not given:
            return {}, ""
        try:
            token = given[0].removeprefix("Bearer ").strip()
            found, keys = self._find_issuer(token)
            if len(given) > 1 or found is not issuer:
                return {}, "of another issuer"
            added = await _verify(token, issuer, keys, issuer.id_token_audience or issuer.audience)
        except (jwt.PyJWTError, KeysUnavailable) as error:
            return {}, type(error).__name__
        return (added, "used") if added["sub"] == claims["sub"] else ({}, "of another subject")

    def _find_issuer(self, token: str) -> tuple[Issuer, VerificationKeys]:
        """Return the issuer that a token names, and its keys. Raises `jwt.PyJWTError`."""
        name = jwt.decode(token, options={"verify_signature": False}).get("iss")
        found = self._issuers.get(name) if isinstance(name, str) else None
        if found is None:
            raise jwt.InvalidIssuerError
        return found


async def _verify(token: str, issuer: Issuer, keys: VerificationKeys, audience: Sequence[str]) -> dict[str, Any]:
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


def _read_bearer(headers: Headers) -> str:
    given = headers.getlist("authorization")
    if not given:
        raise Refusal(
            401, "unauthenticated", "The request has no bearer token.", headers={"WWW-Authenticate": "Bearer"}
        )
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise _refuse_token("The header Authorization must be given once, as Bearer and a token.")
    return token.strip()


def _refuse_token(message: str) -> Refusal:
    return Refusal(401, "invalid_token", message, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _reason(error: jwt.PyJWTError) -> str:
    return next((said for kind, said in _REASONS if isinstance(error, kind)), _NO_TOKEN)
