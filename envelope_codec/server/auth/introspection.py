"""Introspection of opaque tokens (RFC 7662): the issuer itself says whose a token is, and until when."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus

from cachetools import TTLCache

from envelope_codec.observe import logger
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.json_fetch import FetchFailed, fetch_json, redact_url

_LARGEST = 2**16  # bytes of an answer
_MOST_KNOWN = 2_000  # answers that are remembered
_LONGEST_REFUSED = 10.0  # seconds for which a token is known not to be valid
_MOST_UNDER_WAY = 32
_THREADS = 8
_CHECK_SECONDS = 60.0
_OTHER_KINDS = ("refresh", "offline", "id", "logout")  # in token_use (Ory) and typ (Keycloak) of what is asked about
_WRONG_CLIENT = (400, 401, 403)
_OUTAGE = (401, 403, 429, 502, 503, 504)  # whatever the token is; others may come of what is odd about one token
_CHECK_TOKEN = "envelope-codec-check"  # noqa: S105 - a token that nobody has
_CHECK_NAME = sha256(_CHECK_TOKEN.encode()).digest()


class IntrospectionUnavailable(Exception):
    """It is not known whether the token is valid: the issuer does not say."""


class TokenRefused(Exception):
    """The token is not valid, or not for this server. The text says why, for people."""


class Introspection:
    """The introspection endpoint of an issuer.

    A token is asked about once at a time, whoever brings it. Answers are remembered by the token's digest.

    Args:
        issuer: its settings.
        secret: of this server as a client of the issuer.
        timeout: seconds for one answer.
        retry: seconds after a failure in which nothing is asked.
        clock: monotonic seconds.
        now: Unix seconds.

    Attributes:
        problem: why the issuer gives no answers; "" if it gives some, or was asked nothing yet. Trouble with one token
            alone does not count: whoever sends such a token would keep everyone out.
    """

    def __init__(
        self,
        issuer: Issuer,
        secret: str,
        *,
        timeout: float = 5.0,
        retry: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._issuer, self._url = issuer, issuer.introspection_url or ""
        self._client, self._secret = issuer.introspection_client_id or "", secret
        self._timeout, self._retry, self._clock, self._now = timeout, retry, clock, now
        seconds = issuer.introspection_cache
        self._known: TTLCache[bytes, dict[str, Any]] = TTLCache(_MOST_KNOWN, seconds, timer=clock)
        # Apart from those: made-up tokens must not make it forget good ones.
        self._refused: TTLCache[bytes, str] = TTLCache(_MOST_KNOWN, min(seconds, _LONGEST_REFUSED), timer=clock)
        self._odd: TTLCache[bytes, None] = TTLCache(_MOST_KNOWN, retry, timer=clock)  # no answer about these alone
        self._asking: dict[bytes, asyncio.Task[dict[str, Any]]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="envelope-codec-introspection")
        self._answered = self._failed = self._logged = -float("inf")
        self.problem = ""

    async def find_claims(self, token: str) -> dict[str, Any]:
        """Return what the issuer says of ``token``: ``sub``, and other claims.

        Raises:
            TokenRefused: the token is not valid, or not for this server.
            IntrospectionUnavailable: the issuer gives no answer.
        """
        name = sha256(token.encode("utf-8", "replace")).digest()
        said = self._refused.get(name)
        if said is not None:
            raise TokenRefused(said)
        known = self._known.get(name)
        claims = await self._ask_once(name, token) if known is None else known
        try:
            self._check(claims)  # also what is remembered: its time may be over by now
        except TokenRefused as refused:
            self._known.pop(name, None)
            self._refused[name] = str(refused)
            raise
        if known is None:
            self._known[name] = claims
        return claims

    async def check(self) -> str:
        """Return why the issuer gives no answers, or "". Ask, unless it answered or failed lately."""
        if self._clock() - self._answered >= _CHECK_SECONDS:
            with suppress(IntrospectionUnavailable):
                await self._ask_once(_CHECK_NAME, _CHECK_TOKEN)
        return self.problem

    def close(self) -> None:
        """Stop asking."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask_once(self, name: bytes, token: str) -> dict[str, Any]:
        """Ask about a token, or wait for the answer that another request has asked for."""
        asking = self._asking.get(name)
        if asking is None:
            paused = self._clock() - self._failed < self._retry or name in self._odd
            if paused or len(self._asking) >= _MOST_UNDER_WAY:
                raise IntrospectionUnavailable
            asking = self._asking[name] = asyncio.create_task(self._ask(name, token))
            asking.add_done_callback(partial(self._forget, name))
        return await asyncio.shield(asking)

    def _forget(self, name: bytes, asked: asyncio.Task[dict[str, Any]]) -> None:
        self._asking.pop(name, None)
        if not asked.cancelled():
            asked.exception()  # nobody may wait for it any more

    async def _ask(self, name: bytes, token: str) -> dict[str, Any]:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, token)
        except (FetchFailed, RuntimeError) as error:  # RuntimeError: it has been closed
            self._fail(name, _describe(error), of_token=_is_of_token(error))
            raise IntrospectionUnavailable from None
        if not isinstance(answer, dict) or not isinstance(answer.get("active"), bool):
            self._fail(name, "the answer does not say whether the token is active", of_token=True)
            raise IntrospectionUnavailable
        self._answered, self._failed, self.problem = self._clock(), -float("inf"), ""
        return answer

    def _fetch(self, token: str) -> Any:
        form, headers = {"token": token, "token_type_hint": "access_token"}, {}
        if self._issuer.introspection_auth == "post":
            form |= {"client_id": self._client, "client_secret": self._secret}
        else:  # RFC 6749, 2.3.1: both are encoded as in a form first
            pair = f"{quote_plus(self._client)}:{quote_plus(self._secret)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return fetch_json(self._url, timeout=self._timeout, form=form, headers=headers, largest=_LARGEST)

    def _fail(self, name: bytes, problem: str, *, of_token: bool) -> None:
        """Ask nothing for a moment. If the trouble may be with one token, ask nothing about that token alone."""
        of_token = of_token and name != _CHECK_NAME
        now = self._clock()
        if of_token:
            self._odd[name] = None
        else:
            self._failed, self.problem = now, problem
        if now - self._logged >= self._retry:
            self._logged = now
            who = "whoever has that one is not" if of_token else "nobody with a token of this issuer is"
            where = redact_url(self._url)
            logger.warning("%s does not tell whose a token is, so that %s let in: %s", where, who, problem)

    def _check(self, claims: Mapping[str, Any]) -> None:
        """Raise `TokenRefused` unless the answer is of a token for this server that is valid now."""
        if claims["active"] is not True:
            raise TokenRefused("The token's issuer says that it is not valid.")
        if "exp" in claims and not self._now() < _moment(claims["exp"]):
            raise TokenRefused("The token has expired.")
        if "nbf" in claims and not self._now() + self._issuer.leeway >= _moment(claims["nbf"]):  # also if it is NaN
            raise TokenRefused("The token is not valid yet.")
        if claims.get("iss", self._issuer.issuer) != self._issuer.issuer:
            raise TokenRefused("The token is of another issuer.")
        audience = claims.get("aud")
        found = {audience} if isinstance(audience, str) else {*filter(_is_text, _listed(audience))}
        if found.isdisjoint(self._issuer.audience):
            raise TokenRefused("The token was made for another audience, or its issuer tells none.")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise TokenRefused("The token's issuer does not tell its subject.")
        # Such a token is worth something only with a proof that its bearer has a key. This server asks for none.
        if "cnf" in claims or str(claims.get("token_type") or "bearer").lower() not in ("bearer", "access_token"):
            raise TokenRefused("The token is bound to a key, or is no bearer token.")
        # Issuers tell of refresh tokens as well, with the same audience.
        if any(str(claims.get(name) or "").lower().startswith(_OTHER_KINDS) for name in ("token_use", "typ")):
            raise TokenRefused("The token is no access token.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _moment(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TokenRefused("The token's issuer tells no time that can be read.")
    return value


def _is_of_token(error: Exception) -> bool:
    return isinstance(error, FetchFailed) and error.answered and error.status not in _OUTAGE


def _describe(error: Exception) -> str:
    if not isinstance(error, FetchFailed):
        return type(error).__name__
    wrong = " (is introspection_client_id right, and its secret?)" if error.status in _WRONG_CLIENT else ""
    return f"{error}{wrong}"
