"""The tally of payloads: what a part of a namespace needs of each master key, and what in it is no envelope."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from envelope_codec.cli.audit.need import KeyVersion, Need
from envelope_codec.envelope import Record

OURS, OTHERS = "ours", "others"
"""Whose datastores references to external storage lead to."""

# Whoever can write to Temporal can make up any key, context and encoding. So there is a bound to how many are kept.
MAX_KEYS = 1_000
MAX_CONTEXTS = 10_000
MAX_NAMES = 100

OTHER_NAMES = "others"
"""Stands for the names beyond `MAX_NAMES`."""


class Sealer(NamedTuple):
    """The newest records of one context: their recipients are who seals in that context now."""

    created: int
    keys: tuple[KeyVersion, ...]


@dataclass
class Tally:
    """What a part of a namespace holds. Tallies of several parts can be merged, in any order.

    Attributes:
        needs: by master key and version.
        sealers: the newest record by context.
        kinds: how many payloads there are of each kind.
        clear: how many payloads in clear there are, by encoding.
        foreign: how many payloads other codecs have sealed, by encoding.
        unreadable: how many malformed envelopes there are, by reason.
        failures: how many failures tell something in clear.
        first_clear: the first place, by name, that holds something in clear; empty if there is none.
        places: the first place, by name, of each name in ``foreign`` and ``unreadable``; for `MAX_NAMES` of them.
        behind: how many references to this project's datastores there are, and to what other drivers keep.
        sources: how many workflows, schedules and so on were read.
        gone: how many were listed, and were gone when they were to be read.
        unread: which could not be read, and why; the first `MAX_NAMES`.
        missed: how many could not be read.
        uncounted: how many times a payload names a master key beyond the first `MAX_KEYS`.
        own: how many runs of audits and rewraps themselves were left out.
    """

    needs: dict[KeyVersion, Need] = field(default_factory=dict)
    sealers: dict[tuple[tuple[str, str], ...], Sealer] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    clear: Counter[str] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    first_clear: str = ""
    places: dict[str, str] = field(default_factory=dict)
    behind: Counter[str] = field(default_factory=Counter)
    sources: int = 0
    gone: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    missed: int = 0
    uncounted: int = 0
    own: int = 0

    @classmethod
    def of_unread(cls, name: str, reason: str) -> Tally:
        """Make the tally of a source that could not be read."""
        return cls(unread={name: reason}, missed=1)

    def add_record(self, record: Record, payloads: int = 1) -> None:
        """Count ``payloads`` that carry ``record``."""
        keys = keys_of(record)
        for key in keys:
            need = self._need(key)
            if need is None:
                self.uncounted += payloads
            else:
                need.add(record, payloads)
        self._note_sealer(record.context, Sealer(record.created, keys))

    def add_proxied(self, key_id: str) -> None:
        """Count a payload that Temporal's proxy sealed under what it calls ``key_id``."""
        need = self._need(KeyVersion(key_id, ""))
        if need is None:
            self.uncounted += 1
        else:
            need.add_proxied()

    def end_source(self, name: str, last_close: float) -> None:
        """Say that all of this is of one workflow, schedule and so on, which ended at ``last_close`` or never."""
        self.sources += 1
        for need in self.needs.values():
            need.runs, need.last_close, need.examples = 1, last_close, [name]

    def note_clear(self, place: str) -> None:
        """Keep ``place``, if it is the first by name."""
        self.first_clear = min(filter(None, (self.first_clear, place)))

    def note_place(self, what: str, place: str) -> None:
        """Keep ``place``, if it is the first by name of those that hold ``what``."""
        if what in self.places or len(self.places) < MAX_NAMES:
            self.places[what] = min(place, self.places.get(what, place))

    def merge(self, other: Tally) -> None:
        """Add what another part holds."""
        for key, its in other.needs.items():
            need = self._need(key)
            if need is None:
                self.uncounted += its.payloads
            else:
                need.merge(its)
        for context, sealer in other.sealers.items():
            self._note_sealer(context, sealer)
        for mine, theirs in zip(self._counters(), other._counters(), strict=True):
            for name, number in theirs.items():
                count_name(mine, name, number)
        self.failures += other.failures
        if other.first_clear:
            self.note_clear(other.first_clear)
        for what, place in other.places.items():
            self.note_place(what, place)
        self.sources += other.sources
        self.gone += other.gone
        self.unread = dict(sorted((self.unread | other.unread).items())[:MAX_NAMES])
        self.missed += other.missed
        self.uncounted += other.uncounted
        self.own += other.own

    @classmethod
    def of(cls, parts: Iterable[Tally]) -> Tally:
        """Merge ``parts``."""
        whole = cls()
        for part in parts:
            whole.merge(part)
        return whole

    def seals(self, key_id: str, version: str | None = None) -> bool:
        """Whether the newest record of any context is under this master key, in this version if one is given."""
        keys = (key for sealer in self.sealers.values() for key in sealer.keys)
        return any(key.key_id == key_id and version in (None, key.version) for key in keys)

    def _need(self, key: KeyVersion) -> Need | None:
        """Return what is needed of ``key``. None if it is one key too many."""
        need = self.needs.get(key)
        if need is None and len(self.needs) < MAX_KEYS:
            need = self.needs[key] = Need()
        return need

    def _counters(self) -> tuple[Counter[str], ...]:
        return self.kinds, self.clear, self.foreign, self.unreadable, self.behind

    def _note_sealer(self, context: tuple[tuple[str, str], ...], sealer: Sealer) -> None:
        known = self.sealers.get(context)
        if known is None and len(self.sealers) >= MAX_CONTEXTS:
            return
        if known is None or sealer.created > known.created:
            self.sealers[context] = sealer
        elif sealer.created == known.created:  # made within one second: nobody knows which came last
            self.sealers[context] = Sealer(known.created, tuple(sorted({*known.keys, *sealer.keys})))


def count_name(counter: Counter[str], name: str, number: int = 1) -> None:
    """Count under ``name``, or under `OTHER_NAMES` if there are too many names."""
    counter[name if name in counter or len(counter) < MAX_NAMES else OTHER_NAMES] += number


def keys_of(record: Record) -> tuple[KeyVersion, ...]:
    """List the recipients of ``record``."""
    return tuple(KeyVersion(one.key_id, one.key_version) for one in record.recipients)


def to_document(tally: Tally) -> dict[str, Any]:
    """Make JSON of a tally, for a checkpoint."""
    return {
        "needs": [
            {
                **vars(need),
                "key": list(key),
                "ids": sorted(one.hex() for one in need.ids),
                "purposes": dict(need.purposes),
                "days": sorted(need.days.items()),
            }
            for key, need in tally.needs.items()
        ],
        "sealers": [[[list(pair) for pair in context], *sealer] for context, sealer in tally.sealers.items()],
        **{name: value for name, value in vars(tally).items() if name not in ("needs", "sealers")},
    }


def from_document(document: dict[str, Any]) -> Tally:
    """Read what `to_document` made.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    tally = Tally(**{name: value for name, value in document.items() if name not in ("needs", "sealers")})
    for name in ("kinds", "clear", "foreign", "unreadable", "behind"):
        setattr(tally, name, Counter(document[name]))
    for one in document["needs"]:
        fields = {name: value for name, value in one.items() if name != "key"}
        fields |= {"ids": {bytes.fromhex(id) for id in fields["ids"]}, "purposes": Counter(fields["purposes"])}
        fields["days"] = Counter(dict(fields["days"]))
        tally.needs[KeyVersion(*one["key"])] = Need(**fields)
    for context, created, keys in document["sealers"]:
        listed = tuple(KeyVersion(*key) for key in keys)
        tally.sealers[tuple((name, value) for name, value in context)] = Sealer(created, listed)
    return tally
