"""Authentication by bearer tokens: JWTs, which PyJWT verifies, opaque tokens, and static ones."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

import jwt
from starlette.datastructures import Headers

from envelope_codec.server.auth.introspection import Introspection, IntrospectionUnavailable, TokenRefused
from envelope_codec.server.auth.issuer import ID_TOKEN, TOKEN_FILE, Issuer
from envelope_codec.server.auth.jwt_check import (
    NO_TOKEN,
    is_jwt,
    name_issuer,
    tell_reason,
    verify,
    verify_id_token,
)
from envelope_codec.server.auth.key_file import load_client_secret, load_keys
from envelope_codec.server.auth.principal import Principal, merge_claims
from envelope_codec.server.auth.remote_keys import RemoteKeys
from envelope_codec.server.auth.token_file import PREFIX, TokenFiles, TokensUnavailable
from envelope_codec.server.auth.verification_keys import KeysUnavailable, VerificationKeys
from envelope_codec.server.web.refusal import Refusal

_EXTRAS = "authorization-extras"
_BELIEVED = "believed"


class _Known(NamedTuple):
    """An issuer, and what its tokens are verified with.

    Attributes:
        settings: of the issuer.
        keys: None where it has none, beside introspection.
        introspection: None unless it says itself whose an access token is.
    """

    settings: Issuer
    keys: VerificationKeys | None
    introspection: Introspection | None

    @classmethod
    def load(cls, issuer: Issuer) -> _Known:
        """Raises `ConfigurationError` if a file can't be read."""
        introspection = None
        if issuer.introspection_secret_file is not None:
            introspection = Introspection(issuer, load_client_secret(issuer.introspection_secret_file))
        return cls(issuer, load_keys(issuer) if issuer.has_keys else None, introspection)

    def checks(self) -> list[Coroutine[Any, Any, str]]:
        """Return what finds out whether its tokens can be verified: each returns why not, or ""."""
        found: list[Coroutine[Any, Any, str]] = []
        if isinstance(self.keys, RemoteKeys):
            found.append(self.keys.check())
        if self.introspection is not None:
            found.append(self.introspection.check())
        return found


class Authenticator:
    """Finds out who makes a request by its token.

    Which header counts goes by whose token it has. A static token is in ``Authorization``. An access token of an issuer
    counts there alone, and the ID token of an issuer with ``believe = "id-token"`` in ``Authorization-Extras`` alone. A
    token that is not valid is refused: no other one is tried in its place.

    Args:
        issuers: those whose tokens are accepted.
        token_files: paths of files of static tokens. Without issuers and files, no token is asked for, and callers have
            no name.

    Raises:
        ConfigurationError: the keys of an issuer, its secret or a token file can't be read.
    """

    def __init__(self, issuers: Sequence[Issuer], token_files: Sequence[str] = ()) -> None:
        self._issuers = {issuer.issuer: _Known.load(issuer) for issuer in issuers}
        self._tokens = TokenFiles(token_files)
        self._introspecting = next((known for known in self._issuers.values() if known.introspection), None)
        self._believes_id_tokens = any(issuer.believe == ID_TOKEN for issuer in issuers)

    async def check(self) -> dict[str, str]:
        """Return the issuers whose tokens can't be verified now, and why."""
        asked = [(name, check) for name, known in self._issuers.items() for check in known.checks()]
        found = await asyncio.gather(*(check for _, check in asked))
        return {name: problem for (name, _), problem in zip(asked, found, strict=True) if problem}

    def close(self) -> None:
        """Stop asking issuers."""
        for known in self._issuers.values():
            if known.introspection is not None:
                known.introspection.close()

    async def authenticate(self, headers: Headers) -> Principal:
        """Return who makes a request with these headers.

        Raises:
            Refusal: there is no token, or one that is not valid, or it can't be verified now.
        """
        if not self._issuers and not self._tokens:
            return Principal()
        try:
            return await self._authenticate(headers)
        except jwt.PyJWTError as error:
            raise _refuse_token(tell_reason(error)) from None
        except TokenRefused as refused:
            raise _refuse_token(str(refused)) from None
        except KeysUnavailable:
            raise Refusal(503, "keys_unavailable", "The keys of the token's issuer can't be had. Try again.") from None
        except IntrospectionUnavailable:
            said = "The token's issuer does not tell whose it is. Try again."
            raise Refusal(503, "introspection_unavailable", said) from None
        except TokensUnavailable:
            raise Refusal(503, "tokens_unavailable", "The server can't read its tokens. Try again.") from None

    async def _authenticate(self, headers: Headers) -> Principal:
        token = _read_bearer(headers, may_lack=self._believes_id_tokens)
        if token.startswith(PREFIX):
            return self._find_static(token)
        known, is_opaque = self._find_issuer(token)
        if known is not None and known.settings.believe != ID_TOKEN:
            return await self._by_access_token(known, token, headers)
        by_id_token = self._find_believed_id_token(headers)
        if by_id_token is not None:
            return await self._by_id_token(*by_id_token)
        if is_opaque and self._introspecting is not None:
            return await self._by_access_token(self._introspecting, token, headers)
        raise _refuse_token(NO_TOKEN)

    def _find_static(self, token: str) -> Principal:
        found = self._tokens.find(token)
        if found is None:
            raise TokenRefused("The token is none that this server knows.")
        if self._tokens.has_ended(found):
            raise TokenRefused("The token has expired.")
        return Principal(TOKEN_FILE, found.name, {"iss": TOKEN_FILE, "sub": found.name})

    async def _by_access_token(self, known: _Known, token: str, headers: Headers) -> Principal:
        issuer = known.settings
        if known.introspection is not None:
            claims = {**await known.introspection.find_claims(token), "iss": issuer.issuer}
        elif known.keys is not None:
            claims = await verify(token, issuer, known.keys, issuer.audience)
        else:
            raise KeysUnavailable
        added, result = await self._verify_id_token(headers, known, claims)
        return Principal(issuer.issuer, str(claims["sub"]), merge_claims(claims, added, issuer.email_claim), result)

    async def _by_id_token(self, known: _Known, token: str) -> Principal:
        issuer = known.settings
        if known.keys is None:
            raise KeysUnavailable
        claims = await verify_id_token(token, issuer, known.keys, issuer.id_token_audience)
        return Principal(issuer.issuer, str(claims["sub"]), merge_claims(claims, {}, issuer.email_claim), _BELIEVED)

    async def _verify_id_token(
        self, headers: Headers, known: _Known, claims: dict[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """Return the claims of the ID token, and what became of it. If it is not valid, the access token is enough."""
        given = headers.getlist(_EXTRAS)
        if not given:
            return {}, ""
        issuer, token = known.settings, _strip_scheme(given[0])
        try:
            if len(given) > 1 or name_issuer(token) not in self._issuers:
                raise jwt.InvalidIssuerError
            if name_issuer(token) != issuer.issuer or known.keys is None:
                return {}, "of another issuer" if known.keys is not None else "no keys"
            added = await verify_id_token(token, issuer, known.keys, issuer.id_token_audience or issuer.audience)
        except (jwt.PyJWTError, KeysUnavailable) as error:
            return {}, type(error).__name__
        return (added, "used") if added["sub"] == claims["sub"] else ({}, "of another subject")

    def _find_believed_id_token(self, headers: Headers) -> tuple[_Known, str] | None:
        """Return the ID token, if there is one of an issuer whose ID tokens are believed."""
        given = headers.getlist(_EXTRAS)
        if len(given) != 1:
            return None
        token = _strip_scheme(given[0])
        known, _ = self._find_issuer(token)
        return (known, token) if known is not None and known.settings.believe == ID_TOKEN else None

    def _find_issuer(self, token: str) -> tuple[_Known | None, bool]:
        """Return the issuer that a token names, if it is known, and whether the token is opaque (no JWT)."""
        try:
            name = name_issuer(token)
        except jwt.PyJWTError:
            return None, bool(token) and not is_jwt(token)
        return self._issuers.get(name or ""), False


def _read_bearer(headers: Headers, *, may_lack: bool) -> str:
    """Return the token in ``Authorization``. It is "" if there is none, and there may be an ID token alone."""
    given = headers.getlist("authorization")
    if not given and may_lack and _EXTRAS in headers:
        return ""
    if not given:
        raise Refusal(
            401, "unauthenticated", "The request has no bearer token.", headers={"WWW-Authenticate": "Bearer"}
        )
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise _refuse_token("The header Authorization must be given once, as Bearer and a token.")
    return token.strip()


def _strip_scheme(value: str) -> str:
    return value.removeprefix("Bearer ").strip()


def _refuse_token(message: str) -> Refusal:
    return Refusal(401, "invalid_token", message, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
