"""What one look shows, and the exit status that follows."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from envelope_codec.cli.doctor.diagnosis import Diagnosis
from envelope_codec.cli.doctor.finding import Code, Level, advice, problem
from envelope_codec.cli.doctor.watch.judgement import Judgement
from envelope_codec.cli.doctor.watch.overview import overview_of
from envelope_codec.cli.doctor.watch.view import Examination, View

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
BAD, HINT = (Judgement(level, "EnvelopeKeyDenied", "x") for level in (Level.problem, Level.advice))
DENIED, OFF = problem(Code.wrap_denied, "key", "x"), advice(Code.sealing_off, "sealing", "x")


@pytest.mark.parametrize(
    ("judgements", "findings", "problems"),
    [([], [], 0), ([HINT], [OFF], 0), ([BAD], [OFF], 1), ([], [DENIED], 1), ([BAD, HINT], [DENIED], 2)],
)
def test_problems_of_both_sources_count(judgements: list[Judgement], findings: list[object], problems: int) -> None:
    examination = Examination(Diagnosis(findings=findings), NOW)  # type: ignore[arg-type]
    view = View(NOW, [], overview_of([], 300.0), judgements, None, examination)
    assert (view.problems, view.status) == (problems, min(problems, 1))
    assert View(NOW, [], overview_of([], 300.0), judgements).problems == judgements.count(BAD)
