"""Keys that verify tokens: from a JWKS on the web, which changes, or from a file, which does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWKSetError

from envelope_codec.errors import ConfigurationError
from envelope_codec.observe import logger
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.jwks import FetchFailed, fetch_jwks, shown

_SHORTEST_SECRET = 32
_KINDS = (RSAPublicKey, EllipticCurvePublicKey, Ed25519PublicKey)


class KeysUnavailable(Exception):
    """The keys are not known, since they could not be fetched."""


class Keys(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None) -> Any:
        """The key to verify with, for PyJWT, of a token whose header names ``kid``; None if there is no such key.

        Raises:
            KeysUnavailable: that can't be told.
        """
        ...


class OneKey:
    """A single key, whatever a token calls it."""

    def __init__(self, key: Any) -> None:
        self._key = key

    async def find(self, kid: str | None) -> Any:
        """See `Keys.find`."""
        return self._key


class KeySet:
    """Keys by their ids."""

    def __init__(self, keys: dict[str, PyJWK]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, document: Any) -> KeySet:
        """The public keys for signatures in a JWKS. Raises `PyJWKSetError` where there is none."""
        if not isinstance(document, dict):
            raise PyJWKSetError("the document is no JSON object")
        keys = {
            key.key_id: key
            for key in PyJWKSet.from_dict(document).keys
            if key.key_id and key.key_type != "oct" and key.public_key_use in (None, "sig")
        }
        if not keys:
            raise PyJWKSetError("the document holds no public key with an id")
        return cls(keys)

    async def find(self, kid: str | None) -> Any:
        """See `Keys.find`."""
        return self._keys.get(kid) if kid is not None else None


class RemoteKeys:
    """A JWKS on the web.

    It is fetched when it is first needed, again when it has got old, and when a token names a key that is not in it; by
    one fetch at a time, in a thread. While it can't be fetched, what is known goes on for a day.

    Args:
        url: of the JWKS.
        lifespan: seconds after which it is old.
        cooldown: seconds between fetches for keys that are not in it; tokens that name such cost nothing.
        retry: seconds after a failed fetch without another; a tenth of ``lifespan`` while there are keys to go on with.
        timeout: seconds for one fetch.
        clock: monotonic seconds.

    Attributes:
        problem: why the last fetch gave no keys; "" if it did, or there was none yet.
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
        self._longest = max(86_400.0, lifespan)
        self._clock = clock
        self.problem = ""
        self._known: KeySet | None = None
        self._fetched = self._failed = self._searched = -float("inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Any:
        """See `Keys.find`."""
        if self._known is None or self._age > self._lifespan:
            await self._refresh(self._retry if self._known is None else self._lifespan / 10)
        if self._known is None or self._age > self._longest:
            raise KeysUnavailable
        found = await self._known.find(kid)
        if found is None and kid is not None and self._may_search():
            await self._refresh(self._retry)
            found = await self._known.find(kid)
        if found is None and kid is not None and self._failed > self._fetched:
            raise KeysUnavailable  # it may be a new key
        return found

    async def check(self) -> str:
        """Why there are no keys to verify with, or "". It is fetched if it has not been yet."""
        if self._known is None:
            await self._refresh(self._retry)
        return self.problem if self._known is None or self._age > self._longest else ""

    @property
    def _age(self) -> float:
        return self._clock() - self._fetched

    def _may_search(self) -> bool:
        if self._fetching is not None:
            return True  # it costs nothing to wait for what is under way
        if self._clock() - self._searched < self._cooldown:
            return False
        self._searched = self._clock()
        return True

    async def _refresh(self, pause: float) -> None:
        """Fetch, unless the last fetch failed less than ``pause`` seconds ago."""
        if self._fetching is None:
            if self._clock() - self._failed < pause:
                return
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            # A document of a megabyte takes a while to read as well.
            self._known = await asyncio.to_thread(lambda: KeySet.of(fetch_jwks(self._url, timeout=self._timeout)))
            self._fetched, self.problem = self._clock(), ""
        except Exception as error:  # of the network, of TLS, of JSON, of PyJWT: none of them may end a request
            self._failed, self.problem = self._clock(), _problem(error)
            logger.warning(
                "the JWKS at %s gives no keys, so that no token of its issuer can be believed%s: %s",
                shown(self._url),
                "" if self._known is None else " once the earlier keys are a day old",
                self.problem,
            )
        finally:
            self._fetching = None


def _problem(error: Exception) -> str:
    if isinstance(error, (FetchFailed, PyJWKSetError)):
        return str(error)[:300]
    return type(error).__name__


def keys_of(issuer: Issuer) -> Keys:
    """The keys of ``issuer``.

    Raises:
        ConfigurationError: their file can't be read, or holds none.
    """
    if issuer.jwks_url is not None:
        return RemoteKeys(issuer.jwks_url)
    if issuer.secret_file is not None:
        return OneKey(_secret(_read(issuer.secret_file), issuer.secret_file))
    path = issuer.key_file or ""
    data = _read(path)
    if data.lstrip().startswith(b"{"):
        return _key_set(data, path)
    return OneKey(_public_key(data, path))


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"server.auth: can't read {path!r}: {error.strerror}") from None


def _secret(data: bytes, path: str) -> bytes:
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) < _SHORTEST_SECRET or secret.lstrip().startswith((b"-----BEGIN", b"{")):
        raise ConfigurationError(f"server.auth: {path!r} holds no secret of {_SHORTEST_SECRET} bytes or more")
    return secret


def _key_set(data: bytes, path: str) -> KeySet:
    try:
        return KeySet.of(json.loads(data))
    except (ValueError, PyJWKSetError) as error:
        raise ConfigurationError(f"server.auth: {path!r} is no JWKS with public keys: {error}") from None


def _public_key(data: bytes, path: str) -> Any:
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            key: Any = load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"server.auth: {path!r} holds no JWKS, and no public key or certificate in PEM"
        ) from None
    if not isinstance(key, _KINDS):
        raise ConfigurationError(f"server.auth: {path!r} holds a key of a kind that signs no tokens")
    return key
