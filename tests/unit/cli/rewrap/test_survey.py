"""A survey: what a rewrap has to do."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.cli.rewrap.survey import Survey
from envelope_codec.envelope import Purpose
from envelope_codec.keystore_change import add_verified
from tests.support.rewrapped_rows import LONG_AGO, Bench, imported, row_by


def test_rows_and_calls_are_counted() -> None:
    bench = Bench()
    ids = bench.masters.ids
    lacking, other = row_by(bench.old), row_by(bench.new)
    young = row_by(bench.old, namespace="dev", created=LONG_AGO + 100)
    done = add_verified(lacking, bench.masters.move(lacking, lacking.verified[0]))
    found = replace(imported(done), verified=())
    survey = Survey(LONG_AGO + 50)
    for row in (lacking, other, young, done, found):
        survey.add(row, ids)
    survey.add_unreadable()
    survey.add_elsewhere()
    assert (survey.rows, survey.unreadable, survey.elsewhere) == (7, 1, 1)
    assert survey.under_old == [lacking.key, young.key, done.key, found.key]
    assert (survey.lacking, survey.young, survey.calls) == (3, 1, 3 + 3 + 1 + 1)
    assert survey.by_namespace == {"prod": 3, "dev": 1}
    assert survey.samples == {"prod": lacking, "dev": young}
    assert survey.by_key_id == {"fakekms://old": 4, "fakekms://new": 3}


def test_what_a_backup_lacks_is_counted() -> None:
    bench = Bench()
    row = row_by(bench.old)
    done = add_verified(row, bench.masters.move(row, row.verified[0]))
    survey = Survey(0)
    for one in (row, done, row_by(bench.new)):
        survey.add(one, bench.masters.ids, lambda key, recipient: False)
    assert survey.not_kept == 2
    survey = Survey(0)
    survey.add(done, bench.masters.ids, lambda key, recipient: recipient == done.verified[1])
    assert survey.not_kept == 0


def test_a_shared_row_that_may_still_be_adopted_is_left_as_it_is() -> None:
    bench = Bench()
    survey = Survey(youngest_safe=LONG_AGO - 1.0)
    shared = replace(row_by(bench.old), purpose=Purpose.SHARED_WRAPPING_KEY)
    survey.add(shared, bench.masters.ids)
    assert (survey.under_old, survey.frozen, survey.lacking, survey.young) == ([], 1, 1, 1)
    later = Survey(youngest_safe=float(LONG_AGO))
    later.add(shared, bench.masters.ids)
    assert (later.under_old, later.frozen, later.lacking) == ([shared.key], 0, 1)
