"""Values of attributes: of a bounded number, and master keys named as the settings say."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Literal

KeyIds = Literal["plain", "hashed"]
"""How metrics name master keys: by their key ids, or by hashes of these."""

OTHER = "other"
"""Stands for all further values of an attribute, once there are too many."""

_MOST = 1_000  # values of one attribute: each is a time series for good
_HASH_DIGITS = 12


def hash_key_id(key_id: str) -> str:
    """Return the first 12 hex digits of the SHA-256 of ``key_id``; ``""`` for none.

    These are 48 bits: among 1,000 master keys, two have the same with a probability of one in 500 million. Whoever can
    guess a key id can check the guess.
    """
    return sha256(key_id.encode("utf-8", "replace")).hexdigest()[:_HASH_DIGITS] if key_id else ""


class KnownValues:
    """The values of one attribute that have series of their own. Any thread may ask.

    Args:
        always: that have one in any case.
        most: how many others may have one. Threads at the same moment may add a few.
    """

    def __init__(self, always: Iterable[str] = (), most: int = _MOST) -> None:
        self._known = set(always)
        self._most = len(self._known) + most

    def name(self, value: str) -> str:
        """Return ``value``, or `OTHER` if there are too many values already."""
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value


class Labels:
    """What values of attributes become before they are told to a meter.

    Args:
        key_ids: how master keys are named. None leaves it to the configuration.
        namespaces: the namespaces that have series.
    """

    def __init__(self, key_ids: KeyIds | None = None, *, namespaces: KnownValues | None = None) -> None:
        self._given = key_ids
        self._hashed = key_ids == "hashed"
        self._key_ids = KnownValues()
        self._namespaces = KnownValues() if namespaces is None else namespaces
        self._stores = KnownValues()

    def name_keys(self, key_ids: KeyIds) -> None:
        """Name master keys like this, unless it was said before. Of several configurations, one that hashes decides."""
        if self._given is None:
            self._hashed = self._hashed or key_ids == "hashed"

    def key_id(self, key_id: str) -> str:
        """Return what stands for a master key."""
        return self._key_ids.name(hash_key_id(key_id) if self._hashed else key_id)

    def namespace(self, namespace: str) -> str:
        """Return what stands for a Temporal namespace."""
        return self._namespaces.name(namespace)

    def store(self, name: str) -> str:
        """Return what stands for a datastore."""
        return self._stores.name(name)
