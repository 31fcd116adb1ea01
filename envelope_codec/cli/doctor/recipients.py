"""The recipients of a namespace's wrapping keys: of the newest one in its histories, and of one that is made now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from envelope_codec.cli.doctor.finding import Code, Finding, advice
from envelope_codec.cli.doctor.keys import Probe
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Purpose, Record


@dataclass(frozen=True)
class Recipients:
    """How many recipients the wrapping keys of one namespace have, if it seals with several master keys.

    Attributes:
        namespace: the namespace.
        wanted: how many recipients a wrapping key is to have.
        lacking: settings of the master keys that do not wrap now, or do not unwrap what they have wrapped.
        newest: how many the newest wrapping key has in the histories that were read; None if there is none.
        newest_lacking: settings of the master keys that the newest wrapping key lacks.
    """

    namespace: str
    wanted: int
    lacking: tuple[str, ...]
    newest: int | None = None
    newest_lacking: tuple[str, ...] = ()

    @property
    def now(self) -> int:
        """How many recipients a wrapping key would have if it were made now."""
        return self.wanted - len(self.lacking)


def count_recipients(probes: Sequence[Probe], surveys: Iterable[Survey], config: EnvelopeConfig) -> list[Recipients]:
    """Count the recipients for each namespace that seals with several master keys."""
    if not config.sealing:
        return []
    newest = {survey.namespace: _newest(survey) for survey in surveys}
    groups: dict[str, list[Probe]] = {}
    for probe in probes:
        if probe.key.seals:
            groups.setdefault(probe.key.namespace, []).append(probe)
    counted = []
    for namespace, group in groups.items():
        if len(group) < 2:
            continue
        lacking = tuple(probe.key.setting for probe in group if not _serves(probe, config))
        record = newest.get(namespace)
        if record is None:
            counted.append(Recipients(namespace, len(group), lacking))
            continue
        there = {recipient.key_id for recipient in record.recipients}
        missing = tuple(probe.key.setting for probe in group if _key_id(probe) not in there)
        counted.append(Recipients(namespace, len(group), lacking, len(group) - len(missing), missing))
    return counted


def recipient_findings(counted: Iterable[Recipients]) -> Iterator[Finding]:
    """Say which wrapping keys in use lack a recipient. Master keys that do not wrap have findings of their own."""
    for one in counted:
        if not one.newest_lacking:
            continue
        text = (
            f"the newest wrapping key in its histories has {one.newest} of {one.wanted} recipients: "
            f"{', '.join(one.newest_lacking)} can't open what it has sealed, now or later"
        )
        still = [setting for setting in one.newest_lacking if setting in one.lacking]
        fix = (
            f"repair {', '.join(still)}, as its own finding says: a worker tries it again within an hour"
            if still
            else "nothing, if the master key gave no answer or refused for a while: a worker tries it again within an "
            "hour, and then replaces the wrapping key"
        )
        yield advice(Code.recipient_lacking, f"namespace {one.namespace}", text, fix)


def _serves(probe: Probe, config: EnvelopeConfig) -> bool:
    wraps = probe.wrap is not None and probe.wrap.error is None and not probe.defect
    unwraps = probe.unwrap is not None and probe.unwrap.error is None
    return wraps and (unwraps or not config.verify_wraps)


def _key_id(probe: Probe) -> str:
    """Give the key id as it stands in records: for an alias, that of the key that it points at."""
    return probe.record.recipients[0].key_id if probe.record is not None else probe.key_id


def _newest(survey: Survey) -> Record | None:
    keys = [
        record
        for record in survey.records
        if record.purpose is not Purpose.DATA_KEY and record.namespace == survey.namespace
    ]
    return max(keys, key=lambda record: record.created, default=None)
