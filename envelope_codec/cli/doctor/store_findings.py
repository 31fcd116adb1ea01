"""The findings on datastores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.cli.doctor.stores import StoreProbe
from envelope_codec.cli.store_hint import TO_READ_AND_LIST, store_hint
from envelope_codec.cli.stores import proves_nothing
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable


def store_findings(probes: Sequence[StoreProbe]) -> Iterator[Finding]:
    """Say what is wrong with the datastores, and what could not be proved."""
    yield from _twice(probes)
    for probe in probes:
        if probe.defect:
            package = probe.defect.partition("needs a missing package")[2].partition(": pip")[2]
            yield problem(
                Code.store_unusable,
                probe.name,
                f"this datastore can't be used: {probe.defect}",
                f"pip{package}" if package else f"correct {probe.setting}, or install or mend what it names",
            )
        elif probe.answer is None:
            yield problem(
                Code.no_answer_in_time,
                probe.name,
                "no answer in time from this datastore",
                "check the network to it, and that it runs; or set a longer --timeout",
            )
        elif probe.answer.error is not None:
            yield _failure_finding(probe, probe.answer.error, probe.answer.words)


def _twice(probes: Sequence[StoreProbe]) -> Iterator[Finding]:
    """Find stores with the same name. No client starts with them."""
    first: dict[str, str] = {}
    for probe in probes:
        if first.setdefault(probe.name, probe.setting) != probe.setting:
            yield problem(
                Code.configuration_invalid,
                probe.name,
                f"{first[probe.name]} and {probe.setting} have this one name: no client or worker starts",
                "give each a name of its own, with ?name=; a store that has payloads already must keep its name",
            )


def _failure_finding(probe: StoreProbe, error: EnvelopeError, words: str) -> Finding:
    if proves_nothing(error, writes=probe.writes):
        reading, listing = TO_READ_AND_LIST[probe.url.scheme]
        return advice(
            Code.reading_unproved,
            probe.name,
            "these credentials may not list the bucket, and then the service does not tell whether they may read",
            f"allow {listing} for the prefix, to have it proved; or make sure that they have {reading}",
            words,
        )
    refused, unavailable = isinstance(error, StoreRefused), isinstance(error, StoreUnavailable)
    code = Code.store_refused if refused else Code.store_unavailable if unavailable else Code.store_invalid
    what = "storing an empty payload and reading it" if probe.writes else "reading"
    return problem(
        code,
        probe.name,
        f"{what} failed: {error.reason}",
        store_hint(probe.url.scheme, error, writes=probe.writes),
        words,
    )
