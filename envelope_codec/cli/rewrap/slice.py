"""Slices of a keystore's rows, by their keys, and how the work on them ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from envelope_codec.cli.rewrap.counts import Counts, Failure
from envelope_codec.cli.rewrap.steps import Outcome
from envelope_codec.cli.rewrap.survey import Span

_KEY = 32  # bytes
_KEYS = 1 << 8 * _KEY


def slice_of(number: int, slices: int) -> Span:
    """Return one of equal slices of the rows, by their keys. Keys are hashes, so slices are alike.

    Args:
        number: of the slice, from 0 on.
        slices: how many there are.
    """
    low, high = number * _KEYS // slices, (number + 1) * _KEYS // slices
    return Span((low - 1).to_bytes(_KEY, "big") if low else b"", (high - 1).to_bytes(_KEY, "big"))


@dataclass
class Done:
    """How the work on some rows ended: `Counts`, as they go from worker to worker.

    Attributes:
        outcomes: of the rows that ended well, by name.
        failures: of the others: reason, how many, the key of the first in hex, and what the KMS said of it.
        untried: how many rows were left, since all of the last ones had failed.
        calls: of a KMS.
        last: the key of the last row, in hex; empty if there was none.
    """

    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, int, str, str]] = field(default_factory=list)
    untried: int = 0
    calls: int = 0
    last: str = ""

    @property
    def rows(self) -> int:
        """How many rows were worked on."""
        return sum(self.outcomes.values()) + sum(rows for _, rows, _, _ in self.failures)

    def add(self, counts: Counts) -> None:
        """Add how other rows ended."""
        mine = self.counts()
        mine.outcomes.update(counts.outcomes)
        for reason, failure in counts.failures.items():
            mine.failures.setdefault(reason, Failure(0, failure.first, failure.words)).rows += failure.rows
        self.outcomes = {outcome.value: rows for outcome, rows in mine.outcomes.items()}
        self.failures = [(why, one.rows, one.first.hex(), one.words) for why, one in mine.failures.items()]
        self.untried += counts.untried
        self.calls += counts.calls

    def counts(self) -> Counts:
        """Make `Counts` of it."""
        return Counts(
            outcomes=Counter({Outcome(name): rows for name, rows in self.outcomes.items()}),
            failures={why: Failure(rows, bytes.fromhex(first), words) for why, rows, first, words in self.failures},
            untried=self.untried,
            calls=self.calls,
        )
