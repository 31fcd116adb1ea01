"""What the newest histories of a namespace hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from envelope_codec.cli.doctor.histories import History, Reading
from envelope_codec.cli.payloads.kind import Kind, Verdict, judge
from envelope_codec.cli.payloads.location import Location, Role
from envelope_codec.cli.payloads.walk import Unreadable, locations_in_event
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Record

_MAY_BE_FOREIGN = "nexusOperation"  # how the attributes of events begin that bring payloads from other namespaces


@dataclass
class Survey:
    """What was counted.

    Attributes:
        reading: what it was counted in.
        events: how many were read.
        kinds: payloads by kind; without those that ``headers = false`` leaves in clear.
        clear_headers: how many those are.
        encodings: of what is in clear, by encoding.
        temporal: of what Temporal writes in clear, by name.
        reasons: of what is malformed, by reason.
        failures: how many failure messages are in clear.
        first: where the first of each kind stands, and the first failure under None.
        records: how many envelopes each record has.
        foreign: envelopes of other namespaces, by namespace.
        newest_event: Unix seconds; 0 if there is none.
    """

    reading: Reading
    events: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    clear_headers: int = 0
    encodings: Counter[str] = field(default_factory=Counter)
    temporal: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    first: dict[Kind | None, str] = field(default_factory=dict)
    records: Counter[Record] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    newest_event: float = 0.0

    @classmethod
    def of(cls, reading: Reading, config: EnvelopeConfig) -> Survey:
        """Count what is in ``reading``."""
        survey = cls(reading)
        for history in reading.histories:
            for event in history.events:
                survey.events += 1
                survey.newest_event = max(survey.newest_event, event.event_time.ToNanoseconds() / 1e9)
            for place in _places(history):
                survey._count(place, config)
        return survey

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self.reading.namespace

    @property
    def payloads(self) -> int:
        """How many payloads there are, whatever they are."""
        return sum(self.kinds.values()) + self.clear_headers

    def _count(self, place: Location, config: EnvelopeConfig) -> None:
        if place.is_failure:
            self.failures += 1
            self.first.setdefault(None, place.path)
            return
        verdict = judge(place)
        if verdict.kind is Kind.clear and place.role is Role.header and not config.headers:
            self.clear_headers += 1
            return
        self.kinds[verdict.kind] += 1
        self.first.setdefault(verdict.kind, place.path)
        if verdict.kind is Kind.clear:
            self.encodings[verdict.encoding or "no encoding"] += 1
        elif verdict.kind is Kind.temporal:
            self.temporal[verdict.why] += 1
        elif verdict.kind is Kind.malformed:
            self.reasons[verdict.why] += 1
        self._count_envelope(place, verdict, config)

    def _count_envelope(self, place: Location, verdict: Verdict, config: EnvelopeConfig) -> None:
        if verdict.envelope is None:
            return
        record = verdict.envelope.record
        self.records[record] += 1
        origin = record.namespace
        if (
            origin != self.namespace
            and config.namespace_aliases.get(origin) != self.namespace
            and _MAY_BE_FOREIGN not in place.path
        ):
            self.foreign[origin] += 1


def _places(history: History) -> Iterator[Location]:
    """Payloads and failures, with their places as people find them: by workflow and event."""
    for event in history.events:
        start = f"workflow {history.workflow_id!r}, event {event.event_id}"
        try:
            for place in locations_in_event(event):
                path = f"{start}: {place.path}"
                yield Location(path, place.payload, place.defect, place.role)
        except Unreadable:  # nested more deeply than any tool of Temporal's would read
            yield Location(start, None, "nested too deeply")
