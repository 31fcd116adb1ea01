"""A slice of a keystore's rows, by their keys, and how the work on slices ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from envelope_codec.cli.rewrap.counts import Counts, Failure
from envelope_codec.cli.rewrap.run import Rows
from envelope_codec.cli.rewrap.steps import Outcome
from envelope_codec.keystore import Kept

_KEY = 32  # bytes
_KEYS = 1 << 8 * _KEY


class Slice:
    """The rows of a keystore whose keys lie in one of several equal ranges. Keys are hashes, so slices are alike.

    Args:
        keystore: has the rows.
        number: of the slice, from 0 on.
        of: how many slices there are.
    """

    def __init__(self, keystore: Rows, number: int, of: int) -> None:
        self._keystore = keystore
        self._low = number * _KEYS // of
        self._high = (number + 1) * _KEYS // of

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield the rows of the slice with a key greater than ``after``, in order."""
        before = (self._low - 1).to_bytes(_KEY, "big") if self._low else b""
        async for kept in self._keystore.rows(max(after, before)):
            if int.from_bytes(kept.key, "big") >= self._high:
                return
            yield kept

    async def get(self, key: bytes) -> Kept | None:
        """As the keystore's."""
        return await self._keystore.get(key)

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """As the keystore's."""
        return await self._keystore.put(key, data, revision)

    async def check(self) -> None:
        """As the keystore's."""
        await self._keystore.check()


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
