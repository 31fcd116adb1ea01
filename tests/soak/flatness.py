"""Whether what a process uses stays flat: the medians of two spans of time, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

ENOUGH = 6
"""Samples that each of the two spans needs for a judgement."""


class Sample(NamedTuple):
    """What one process uses at one moment.

    Attributes:
        at: monotonic seconds.
        memory: resident, in MiB.
        threads: how many.
        files: how many open file descriptors.
    """

    at: float
    memory: float
    threads: float
    files: float


class Bound(NamedTuple):
    """How much the later median may lie above the earlier one: by this share of it, plus so much."""

    share: float
    plus: float


BOUNDS: Mapping[str, Bound] = {
    "memory": Bound(0.25, 24.0),
    # The pools of a keyring fill up: 32 for calls of a KMS, 4 for urgent ones, 8 for new keys.
    "threads": Bound(0.0, 44.0),
    "files": Bound(0.0, 24.0),
}


class Verdict(NamedTuple):
    """One quantity of one process: medians of both spans, and what the later one may come to."""

    quantity: str
    early: float
    late: float
    most: float

    @property
    def flat(self) -> bool:
        return self.late <= self.most


def judge(samples: Sequence[Sample], warm_up: float, least: float) -> list[Verdict]:
    """Compare the second quarter of what follows the warm-up, in seconds, with the last quarter.

    The first quarter fills caches and pools of all kinds. Of a process that lived for less than ``least`` seconds, or
    has too few samples, nothing can be said: then the list is empty.
    """
    if not samples or samples[-1].at - samples[0].at < least:
        return []
    begin, end = samples[0].at + warm_up, samples[-1].at
    quarter = (end - begin) / 4
    early = [one for one in samples if begin + quarter <= one.at < begin + 2 * quarter]
    late = [one for one in samples if one.at >= end - quarter]
    if min(len(early), len(late)) < ENOUGH:
        return []
    verdicts = []
    for quantity, bound in BOUNDS.items():
        before = median(getattr(one, quantity) for one in early)
        after = median(getattr(one, quantity) for one in late)
        verdicts.append(Verdict(quantity, before, after, before * (1 + bound.share) + bound.plus))
    return verdicts
