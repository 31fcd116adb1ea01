"""How many recipients the wrapping keys of a namespace have: the newest in its histories, and one that is made now."""

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
    """What is known of one namespace that has several master keys to seal with.

    Attributes:
        namespace: which.
        wanted: how many recipients a key is to have.
        lacking: settings of the master keys that do not wrap now, or do not unwrap what they have wrapped.
        newest: recipients of the newest wrapping key in the histories that were read; None if there is none.
        newest_lacking: settings of the master keys that it lacks.
    """

    namespace: str
    wanted: int
    lacking: tuple[str, ...]
    newest: int | None = None
    newest_lacking: tuple[str, ...] = ()

    @property
    def now(self) -> int:
        """How many recipients a key has that is made now."""
        return self.wanted - len(self.lacking)


def count_recipients(probes: Sequence[Probe], surveys: Iterable[Survey], config: EnvelopeConfig) -> list[Recipients]:
    """Of each namespace with several master keys to seal with."""
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
    """What to know of keys in use that lack a recipient. Of master keys that do not wrap, others tell."""
    for one in counted:
        if not one.newest_lacking:
            continue
        text = (
            f"the newest wrapping key in its histories has {one.newest} of {one.wanted} recipients: "
            f"{', '.join(one.newest_lacking)} can't open what it has sealed, now or later"
        )
        still = [setting for setting in one.newest_lacking if setting in one.lacking]
        fix = (
            f"mend {', '.join(still)}, of which more is told here: a worker tries it again within an hour"
            if still
            else "nothing, if the master key was out or refused: a worker tries it within an hour, and replaces the key"
        )
        yield advice(Code.recipient_lacking, f"namespace {one.namespace}", text, fix)


def _serves(probe: Probe, config: EnvelopeConfig) -> bool:
    wraps = probe.wrap is not None and probe.wrap.error is None and not probe.defect
    unwraps = probe.unwrap is not None and probe.unwrap.error is None
    return wraps and (unwraps or not config.verify_wraps)


def _key_id(probe: Probe) -> str:
    """As it stands in records: an alias names the key that it points at."""
    return probe.record.recipients[0].key_id if probe.record is not None else probe.key_id


def _newest(survey: Survey) -> Record | None:
    keys = [
        record
        for record in survey.records
        if record.purpose is Purpose.WRAPPING_KEY and record.namespace == survey.namespace
    ]
    return max(keys, key=lambda record: record.created, default=None)
