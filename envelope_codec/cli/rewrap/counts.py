"""How the work on rows ended, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from envelope_codec.cli.rewrap.steps import Outcome

_HOPELESS = 100


@dataclass
class Failure:
    """Rows that failed for one reason.

    Attributes:
        rows: how many.
        first: the key of the first of them.
        words: what the KMS or the keystore said itself of the first of them.
    """

    rows: int
    first: bytes
    words: str


@dataclass
class Counts:
    """How the work ended, row by row.

    Attributes:
        outcomes: of the rows that ended well.
        failures: of the others, by reason.
        untried: how many rows were left when it stopped, since all of the last ones had failed.
        calls: of a KMS.
        failed_in_a_row: how many rows have failed since one ended well.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    failures: dict[str, Failure] = field(default_factory=dict)
    untried: int = 0
    calls: int = 0
    failed_in_a_row: int = 0

    @property
    def hopeless(self) -> bool:
        """Whether so many rows have failed in a row that the next ones would too."""
        return self.failed_in_a_row >= _HOPELESS

    @property
    def failed(self) -> int:
        """How many rows failed."""
        return sum(failure.rows for failure in self.failures.values())

    def succeed(self, outcome: Outcome) -> None:
        """Count a row that ended well."""
        self.outcomes[outcome] += 1
        self.failed_in_a_row = 0

    def fail(self, key: bytes, reason: str, words: str = "") -> None:
        """Count a row that failed."""
        self.failures.setdefault(reason, Failure(0, key, words)).rows += 1
        self.failed_in_a_row += 1
