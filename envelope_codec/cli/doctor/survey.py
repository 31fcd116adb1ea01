"""The survey of a namespace: counts of what its newest histories hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from temporalio.api.common.v1 import Payload

from envelope_codec.cli.doctor.histories import History, Reading
from envelope_codec.cli.payloads.kind import Kind, Verdict, judge
from envelope_codec.cli.payloads.location import Location
from envelope_codec.cli.payloads.walk import Unreadable, locations_in_message
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Record
from envelope_codec.temporal.payload_walk import Role

_MAY_BE_FOREIGN = "nexusOperation"  # begins the attributes of events that bring payloads from other namespaces


@dataclass
class Survey:
    """What the newest histories of one namespace hold.

    Attributes:
        reading: the histories that were read.
        events: how many events they have.
        kinds: how many payloads there are of each kind, without the headers that ``headers = false`` leaves in clear.
        clear_headers: how many headers ``headers = false`` leaves in clear.
        encodings: how many payloads in clear there are of each encoding.
        temporal: how many payloads Temporal writes in clear, by name.
        reasons: how many payloads are malformed, by reason.
        failures: how many failures are in clear.
        first: where the first payload of each kind stands. Under None, where the first failure in clear stands.
        proxied: how many payloads Temporal's proxy has sealed, by what it calls its master key.
        samples: the first of these payloads, by the same.
        records: how many envelopes each record has.
        foreign: how many envelopes are of other namespaces, by namespace.
        newest_event: when the newest event was written, in Unix seconds; 0 if there is none.
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
    proxied: Counter[str] = field(default_factory=Counter)
    samples: dict[str, Payload] = field(default_factory=dict)
    records: Counter[Record] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    newest_event: float = 0.0

    @classmethod
    def of(cls, reading: Reading, config: EnvelopeConfig) -> Survey:
        """Count what ``reading`` holds."""
        survey = cls(reading)
        for history in reading.histories:
            for event in history.events:
                survey.events += 1
                survey.newest_event = max(survey.newest_event, event.event_time.ToNanoseconds() / 1e9)
            for location in _locations(history):
                survey._count(location, config)
        return survey

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self.reading.namespace

    @property
    def payloads(self) -> int:
        """How many payloads there are, of all kinds."""
        return sum(self.kinds.values()) + self.clear_headers

    def _count(self, location: Location, config: EnvelopeConfig) -> None:
        if location.is_failure:
            self.failures += 1
            self.first.setdefault(None, location.path)
            return
        verdict = judge(location)
        if verdict.kind is Kind.clear and location.role is Role.header and not config.headers:
            self.clear_headers += 1
            return
        self.kinds[verdict.kind] += 1
        self.first.setdefault(verdict.kind, location.path)
        if verdict.kind is Kind.clear:
            self.encodings[verdict.encoding or "no encoding"] += 1
        elif verdict.kind is Kind.temporal:
            self.temporal[verdict.why] += 1
        elif verdict.kind is Kind.malformed:
            self.reasons[verdict.why] += 1
        elif verdict.proxy_key:
            self.proxied[verdict.proxy_key] += 1
            if location.payload is not None:
                self.samples.setdefault(verdict.proxy_key, location.payload)
        self._count_envelope(location, verdict, config)

    def _count_envelope(self, location: Location, verdict: Verdict, config: EnvelopeConfig) -> None:
        if verdict.envelope is None:
            return
        record = verdict.envelope.record
        self.records[record] += 1
        origin = record.namespace
        if (
            origin != self.namespace
            and config.namespace_aliases.get(origin) != self.namespace
            and _MAY_BE_FOREIGN not in location.path
        ):
            self.foreign[origin] += 1


def _locations(history: History) -> Iterator[Location]:
    """Find payloads and failures in ``history``. Their paths begin with the workflow and the event, as people look."""
    for event in history.events:
        start = f"workflow {history.workflow_id!r}, event {event.event_id}"
        try:
            for location in locations_in_message(event):
                path = f"{start}: {location.path}"
                yield Location(path, location.payload, location.defect, location.role)
        except Unreadable:  # no tool of Temporal's reads it either
            yield Location(start, None, "nested too deeply")
