"""What a fleet of workers looks like: how many, who opens what whom sealed, how often, and under which settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from envelope_codec.keys.limits import Limits


class Role(NamedTuple):
    """Processes that are alike. ``processes`` of them open ``rate`` payloads a second each.

    Each opens what ``writers`` processes sealed, every one of which seals ``sealed`` payloads a second.
    """

    processes: int
    rate: float
    writers: int
    sealed: float


@dataclass(frozen=True)
class Fleet:
    """A fleet. Times in seconds, rates a second.

    Attributes:
        name: what it is called in the tables.
        workers: processes, each with one keyring.
        rate: payloads that each worker opens; it seals as many.
        group: workers of one task queue, who open what their own group sealed; 0 where all open what all sealed.
        starters: other processes, which seal for all workers and open what workers seal; workers then open nothing
            that other workers sealed.
        lifetime: age at which a worker is replaced by a fresh one, as by a rolling restart.
        replayed: payloads that each worker opens beside the fresh ones, sealed in the last ``history`` days.
        history: days.
        direct: the KMS wraps every data key itself.
        verify_wraps: as in `Keyring`.
        startup_jitter: as in `EnvelopeConfig`.
        limits: the keyring's.
        proves_version: whether an unwrap proves the key version, so that one lease stands for all records of it; GCP's
            does not, and each record has a lease of its own.
        latency: of a KMS call, on average.
        quota: calls that the KMS answers; it throttles what is more.
    """

    name: str
    workers: int
    rate: float = 1.0
    group: int = 0
    starters: int = 0
    lifetime: float = math.inf
    replayed: float = 0.0
    history: float = 0.0
    direct: bool = False
    verify_wraps: bool = True
    startup_jitter: float = 1.0
    limits: Limits = field(default_factory=Limits)
    proves_version: bool = True
    latency: float = 0.02
    quota: float = math.inf

    @property
    def roles(self) -> tuple[Role, ...]:
        """The workers; then the starters, if there are any."""
        if not self.starters:
            return (Role(self.workers, self.rate, self.group or self.workers, self.rate),)
        share = self.rate * self.workers / self.starters
        return (
            Role(self.workers, self.rate, self.starters, share),
            Role(self.starters, share, self.workers, self.rate),
        )
