"""The keys of an issuer that publishes them on the web, as a JWKS, and changes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from jwt.exceptions import PyJWKSetError

from envelope_codec.observe import logger
from envelope_codec.server.auth.json_fetch import FetchFailed, fetch_json, redact_url
from envelope_codec.server.auth.verification_keys import Jwks, KeysUnavailable

_DAY = 86_400.0


class RemoteKeys:
    """A JWKS on the web.

    It is fetched when it is first needed, when it has got old, and when a token names a key that is not in it. There is
    one fetch at a time, in a thread. If fetches fail, the known keys stay in use for a day.

    Args:
        url: of the JWKS.
        lifespan: seconds after which the JWKS is old.
        cooldown: seconds between two fetches for keys that are not in it, so that tokens with made-up ids cost nothing.
        retry: seconds without a fetch after one that failed. While keys are known, it is a tenth of ``lifespan``.
        timeout: seconds for one fetch.
        clock: monotonic seconds.

    Attributes:
        problem: why the last fetch gave no keys; "" if it gave some, or if there was no fetch yet.
    """

    def __init__(
        self,
        url: str,
        *,
        lifespan: float = 300.0,
        cooldown: float = 10.0,
        retry: float = 2.0,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._timeout = url, timeout
        self._lifespan, self._cooldown, self._retry = lifespan, cooldown, retry
        self._longest_use = max(_DAY, lifespan)
        self._clock = clock
        self.problem = ""
        self._known: Jwks | None = None
        self._fetched = self._failed = self._searched = -float("inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Any:
        """Return the key with this id, or None. Raises `KeysUnavailable` if there may be one that is not known."""
        if self._known is None or self._age > self._lifespan:
            await self._refresh(self._retry if self._known is None else self._lifespan / 10)
        if self._known is None or self._age > self._longest_use:
            raise KeysUnavailable
        found = await self._known.find(kid)
        if found is not None or kid is None:
            return found
        return await self._search(kid)

    async def check(self) -> str:
        """Return why there are no keys to verify with, or "". Fetch them if that was not done yet."""
        if self._known is None:
            await self._refresh(self._retry)
        return self.problem if self._known is None or self._age > self._longest_use else ""

    @property
    def _age(self) -> float:
        return self._clock() - self._fetched

    async def _search(self, kid: str) -> Any:
        """Look for a key that is not among those known: by another fetch, unless there was one just now."""
        found = None
        if self._may_search() and self._known is not None:
            await self._refresh(self._retry)
            found = await self._known.find(kid)
        if found is None and self._failed > self._fetched:
            raise KeysUnavailable  # it may be a new key
        return found

    def _may_search(self) -> bool:
        if self._fetching is not None:
            return True  # it costs nothing to wait for a fetch that is under way
        if self._clock() - self._searched < self._cooldown:
            return False
        self._searched = self._clock()
        return True

    async def _refresh(self, pause: float) -> None:
        """Fetch the JWKS, unless the last fetch failed less than ``pause`` seconds ago."""
        if self._fetching is None:
            if self._clock() - self._failed < pause:
                return
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            # The thread parses it as well: a document of a megabyte takes a while.
            self._known = await asyncio.to_thread(lambda: Jwks.parse(fetch_json(self._url, timeout=self._timeout)))
            self._fetched, self.problem = self._clock(), ""
        except Exception as error:  # of the network, of TLS, of JSON, of PyJWT: none of them may end a request
            self._failed, self.problem = self._clock(), _describe(error)
            logger.warning(
                "the JWKS at %s gives no keys, so that no token of its issuer can be believed%s: %s",
                redact_url(self._url),
                "" if self._known is None else " once the earlier keys are a day old",
                self.problem,
            )
        finally:
            self._fetching = None


def _describe(error: Exception) -> str:
    if isinstance(error, (FetchFailed, PyJWKSetError)):
        return str(error)[:300]
    return type(error).__name__
