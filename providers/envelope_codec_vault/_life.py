"""How long a token lives, and what Vault says of that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RENEWAL_SHARE = 2 / 3
"""Share of a token's life after which it is renewed."""


@dataclass(frozen=True)
class Life:
    """What Vault says of a token's life.

    Attributes:
        seconds: from now on; infinite if it has no end.
        full: what it was given at first, in seconds. A renewal that gives much less has come near the longest life that
            Vault allows.
        renewable: whether Vault renews it.
        counted: whether it is good for so many requests only, which a renewal is one of.
    """

    seconds: float = math.inf
    full: float = math.inf
    renewable: bool = False
    counted: bool = False

    @property
    def keeps(self) -> bool:
        """Whether renewal is worth a request."""
        return self.renewable and not self.counted and self.seconds < math.inf


def life_of(reply: Mapping[str, Any]) -> Life:
    """The life in a reply: the ``auth`` of a login or renewal, or the ``data`` of a lookup.

    https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
    """
    seconds = _seconds(reply.get("lease_duration", reply.get("ttl")))
    full = max(seconds, _seconds(reply.get("creation_ttl"))) if reply.get("creation_ttl") else seconds
    uses = reply.get("num_uses")
    counted = isinstance(uses, int) and uses > 0
    return Life(seconds, full, reply.get("renewable") is True, counted)


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else math.inf
