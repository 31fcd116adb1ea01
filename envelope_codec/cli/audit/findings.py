"""The findings of an audit: a tally of each part of a namespace, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from envelope_codec.cli.audit.record_import import Imported
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import Part

ROUNDS = 3
"""How often the lists are compared with what was read, at most."""


@dataclass(frozen=True)
class Findings:
    """What an audit found.

    Attributes:
        as_of: T0, in milliseconds since 1970.
        read_at: when the first of the open workflows were read, in milliseconds since 1970.
        parts: the tally of each part.
        others: the tally of what is no workflow.
        retention: for how many seconds the server keeps a workflow that has ended.
        archived: whether the server archives histories, which can't be seen here.
        new: how many workflows the last comparison of the lists had found new.
        stores: what the datastores hold, by name.
        witnesses: what the KMSs say of the use of their keys, by key id.
        imported: what was imported into the keystore. None if nothing was to be.
        vouched: encodings of other codecs of which the user says that they never hold an envelope.
    """

    as_of: int
    read_at: int = 0
    parts: dict[Part, Tally] = field(default_factory=dict)
    others: Tally = field(default_factory=Tally)
    retention: float = 0.0
    archived: bool = False
    new: int = 0
    stores: dict[str, Tally] = field(default_factory=dict)
    witnesses: dict[str, str] = field(default_factory=dict)
    imported: Imported | None = None
    vouched: frozenset[str] = frozenset()

    @cached_property
    def whole(self) -> Tally:
        """The tally of all parts."""
        return Tally.of([*self.parts.values(), self.others, *self.stores.values()])

    @property
    def unfinished(self) -> list[str]:
        """Say why the audit is incomplete. Empty if it is complete."""
        reasons = []
        if not any(one.sources or one.gone or one.missed for one in (*self.parts.values(), self.others)):
            reasons.append("there was nothing to read: the namespace is empty, or it is another one than you mean")
        if self.new:
            reasons.append(f"{self.new} workflows were still listed late after {ROUNDS} comparisons")
        if missed := self.whole.missed:
            reasons.append(f"{missed} could not be read")
        return reasons
