"""The keys that verify an issuer's tokens."""

from __future__ import annotations

from typing import Any, Protocol

from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWKSetError


class KeysUnavailable(Exception):
    """The keys are not known, since they could not be fetched."""


class VerificationKeys(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None) -> Any:
        """Return the key to verify with, for PyJWT, or None if there is no such key.

        Args:
            kid: the id of the key, as the token's header names it; None if it names none.

        Raises:
            KeysUnavailable: it is not known whether there is such a key.
        """
        ...


class SingleKey:
    """A single key, whatever id a token gives it."""

    def __init__(self, key: Any) -> None:
        self._key = key

    async def find(self, kid: str | None) -> Any:
        """Return the key."""
        return self._key


class Jwks:
    """The keys of a JWKS (RFC 7517), by their ids."""

    def __init__(self, keys: dict[str, PyJWK]) -> None:
        self._keys = keys

    @classmethod
    def parse(cls, document: Any) -> Jwks:
        """Take the public keys for signatures out of a JWKS. Raises `PyJWKSetError` if it has none."""
        if not isinstance(document, dict):
            raise PyJWKSetError("the document is no JSON object")
        keys = {
            key.key_id: key for key in PyJWKSet.from_dict(document).keys if key.key_id and _verifies_signatures(key)
        }
        if not keys:
            raise PyJWKSetError("the document holds no public key with an id")
        return cls(keys)

    async def find(self, kid: str | None) -> Any:
        """Return the key with this id, or None."""
        return self._keys.get(kid) if kid is not None else None


def _verifies_signatures(key: PyJWK) -> bool:
    return key.key_type != "oct" and key.public_key_use in (None, "sig")
