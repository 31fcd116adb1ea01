"""What a rewrap prints."""

from __future__ import annotations

import pytest

from envelope_codec.cli.output import Page
from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.report import print_counts, print_plan
from envelope_codec.cli.rewrap.steps import Outcome
from envelope_codec.cli.rewrap.survey import Survey
from tests.support.rewrapped_rows import Bench, row_by


def test_the_plan_shows_counts_keys_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    survey = Survey(0)
    for _ in range(1_200):
        survey.add(row_by(bench.old), bench.masters.ids)
    survey.add_elsewhere()
    print_plan(Page(), survey, bench.masters.ids, ["be careful"], dropping=False)
    told = capsys.readouterr().out
    for words in ("1,201", "1 of other namespaces", "1,200 in namespace prod", "fakekms://old", "fakekms://new"):
        assert words in told
    assert "KMS calls           3,600 at least" in told
    assert "Warning:  be careful" in told
    print_plan(Page(), survey, bench.masters.ids, [], dropping=True)
    told = capsys.readouterr().out
    assert "rows to shorten     1,200" in told
    assert "KMS calls           1,200 at least" in told


def test_where_there_is_nothing_to_do_it_shows_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    survey = Survey(0)
    survey.add(row_by(bench.new), bench.masters.ids)
    print_plan(Page(), survey, bench.masters.ids, [], dropping=False)
    assert "fakekms://new  1 row" in capsys.readouterr().out


def test_the_counts_name_a_row_for_each_reason(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts()
    for outcome in (Outcome.added, Outcome.added, Outcome.there, Outcome.dropped, Outcome.unconcerned):
        counts.succeed(outcome)
    counts.fail(b"\x01" * 32, "the KMS refused", "AccessDenied\x1b[2J")
    counts.fail(b"\x02" * 32, "the KMS refused")
    counts.untried = 3
    print_counts(Page(), counts)
    told = capsys.readouterr().out
    assert "2 rows got a recipient" in told
    assert "2 rows failed: the KMS refused" in told
    assert f"the first is {'01' * 32}" in told
    assert "AccessDenied\\x1b[2J" in told
    assert "3 rows not tried" in told
