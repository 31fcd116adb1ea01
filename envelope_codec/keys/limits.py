"""The times and bounds of a keyring."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Times in seconds, and bounds.

    Attributes:
        max_age: a wrapping key seals no longer than this.
        max_payloads: a wrapping key seals no more payloads than this.
        cache_ttl: an unwrapped wrapping key is kept for opening no longer than this.
        cache_size: at most so many unwrapped wrapping keys are kept.
        lease: a successful unwrap vouches for its master key for so long, where a `KeySet` does not say.
        outage_grace: while the KMS can't be reached, what is at hand serves so much longer. 0 for none.
        refusal_ttl: a record that could not be opened is refused for so long without asking again.
        timeout: a caller waits so long for a key.
        activity_timeout: a caller that opens in an Activity context waits so long.
    """

    max_age: float = 86_400.0
    max_payloads: int = 2**20
    cache_ttl: float = 86_400.0
    cache_size: int = 50_000
    lease: float = 300.0
    outage_grace: float = 3_600.0
    refusal_ttl: float = 5.0
    timeout: float = 30.0
    activity_timeout: float = 600.0
