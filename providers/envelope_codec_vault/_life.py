"""The life of a token, as Vault tells it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RENEWAL_SHARE = 2 / 3
"""Share of a token's life after which it is renewed."""


@dataclass(frozen=True)
class Life:
    """The life of a token.

    Attributes:
        seconds: from now on; infinite if it has no end.
        full: what it was given at first, in seconds. A renewal that gives much less nears the longest life that Vault
            allows.
        renewable: whether Vault renews it.
        counted: whether it is good for a number of requests only. A renewal is one of them.
    """

    seconds: float = math.inf
    full: float = math.inf
    renewable: bool = False
    counted: bool = False

    @property
    def keeps(self) -> bool:
        """Whether renewal is worth a request."""
        return self.renewable and not self.counted and self.seconds < math.inf


def read_life(reply: Mapping[str, Any]) -> Life:
    """Read the life in a reply: in the ``auth`` of a login or renewal, or in the ``data`` of a lookup.

    https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
    """
    seconds = _seconds(reply.get("lease_duration", reply.get("ttl")))
    full = max(seconds, _seconds(reply.get("creation_ttl"))) if reply.get("creation_ttl") else seconds
    uses = reply.get("num_uses")
    counted = isinstance(uses, int) and uses > 0
    return Life(seconds, full, reply.get("renewable") is True, counted)


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else math.inf
