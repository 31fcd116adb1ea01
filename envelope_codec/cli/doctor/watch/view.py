"""The view: all that one look at the endpoints, and the last examination, have shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request
from envelope_codec.cli.doctor.finding import Level
from envelope_codec.cli.doctor.watch.endpoint import Endpoint
from envelope_codec.cli.doctor.watch.judgement import Judgement
from envelope_codec.cli.doctor.watch.overview import Overview


@dataclass(frozen=True)
class Examination:
    """What the doctor found itself.

    Attributes:
        diagnosis: what was found.
        ended: when it had ended.
    """

    diagnosis: Diagnosis
    ended: datetime


@dataclass(frozen=True)
class View:
    """What is shown at one moment.

    Attributes:
        time: of the look, in UTC.
        endpoints: that were asked, and whether each told something.
        overview: what they told.
        judgements: what in it needs somebody.
        request: what the doctor examines itself; None if nothing.
        examination: how that went last; None before its first end.
    """

    time: datetime
    endpoints: Sequence[Endpoint]
    overview: Overview
    judgements: Sequence[Judgement]
    request: Request | None = None
    examination: Examination | None = None

    @property
    def problems(self) -> int:
        """How many things fail."""
        found = sum(judgement.level is Level.problem for judgement in self.judgements)
        if self.examination is not None:
            found += sum(finding.level is Level.problem for finding in self.examination.diagnosis.findings)
        return found

    @property
    def status(self) -> int:
        """The exit status where this is the last one: 1 if there is any problem, else 0."""
        return 1 if self.problems else 0
