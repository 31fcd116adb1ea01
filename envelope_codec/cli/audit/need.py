"""What is needed of one master key."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from envelope_codec.envelope import Purpose, Record

EXAMPLES = 3
"""How many workflows are named for each key: the first by name, so that every order of counting names the same."""

# Whoever can write to Temporal can make up any number of records. So there is a bound to what is kept of them.
MAX_IDS = 100_000
MAX_DAYS = 1_000

PROXIED = "of Temporal's proxy"
"""The purpose of a data key that Temporal's proxy had wrapped. The key id is what the proxy calls the master key."""

OTHER_DAYS = -1
"""Stands for the days beyond `MAX_DAYS`."""

_DAY = 86_400  # seconds
_NAMES = {Purpose.WRAPPING_KEY: "wrapping key", Purpose.DATA_KEY: "direct", Purpose.SHARED_WRAPPING_KEY: "shared"}


class KeyVersion(NamedTuple):
    """A master key, and the version of it that a record names; empty where the KMS does not tell."""

    key_id: str
    version: str


@dataclass
class Need:
    """What a part of a namespace needs of one version of a master key.

    Attributes:
        payloads: how many payloads name it.
        sole: how many of these name no other master key, so that nothing else opens them.
        runs: how many workflows, schedules and so on hold such payloads.
        ids: the ids of the wrapping keys; no more are added beyond `MAX_IDS`.
        purposes: how many of the payloads there are of each purpose.
        oldest: when the oldest of the keys was made, in Unix seconds, as the record says.
        newest: when the newest was.
        days: how many of the payloads there are, by the day on which their key was made, in days since 1970.
        last_close: when the last of the runs that have ended did, in Unix seconds; 0 if none has.
        examples: the ids of some workflows.
    """

    payloads: int = 0
    sole: int = 0
    runs: int = 0
    ids: set[bytes] = field(default_factory=set)
    purposes: Counter[str] = field(default_factory=Counter)
    oldest: int | None = None
    newest: int | None = None
    days: Counter[int] = field(default_factory=Counter)
    last_close: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, record: Record, payloads: int) -> None:
        """Count ``payloads`` that carry ``record``."""
        self.payloads += payloads
        self.sole += payloads if len(record.recipients) == 1 else 0
        self.purposes[_NAMES[record.purpose]] += payloads
        if record.purpose is not Purpose.DATA_KEY:  # one of its own for each payload
            self._add_ids({record.id})
        self._stretch(record.created, record.created)
        self._add_day(record.created // _DAY, payloads)

    def add_proxied(self) -> None:
        """Count a payload that Temporal's proxy sealed under the key: no other opens it, and it has no record."""
        self.payloads += 1
        self.sole += 1
        self.purposes[PROXIED] += 1

    def merge(self, other: Need) -> None:
        """Add what another part needs."""
        self.payloads += other.payloads
        self.sole += other.sole
        self.runs += other.runs
        self._add_ids(other.ids)
        self.purposes += other.purposes
        self._stretch(other.oldest, other.newest)
        for day, payloads in other.days.items():
            self._add_day(day, payloads)
        self.last_close = max(self.last_close, other.last_close)
        self.examples = sorted({*self.examples, *other.examples})[:EXAMPLES]

    def _add_ids(self, ids: set[bytes]) -> None:
        if len(self.ids) < MAX_IDS:
            self.ids |= ids

    def _add_day(self, day: int, payloads: int) -> None:
        self.days[day if day in self.days or len(self.days) < MAX_DAYS else OTHER_DAYS] += payloads

    def _stretch(self, oldest: int | None, newest: int | None) -> None:
        if oldest is not None:
            self.oldest = oldest if self.oldest is None else min(self.oldest, oldest)
        if newest is not None:
            self.newest = newest if self.newest is None else max(self.newest, newest)
