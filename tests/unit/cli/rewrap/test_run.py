"""The work on many rows: bounds, repeated calls, and counts."""

from __future__ import annotations

import threading

import pytest

from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.steps import Outcome, Steps, rewrap
from envelope_codec.errors import KmsUnavailable, StoreRefused, StoreUnavailable
from envelope_codec.keystore_row import KeystoreRow
from tests.support.rewrapped_rows import Bench, key_ids, row_by


async def rewrapped(bench: Bench, rows: list[KeystoreRow], in_flight: int = 4) -> Counts:
    run = bench.run(in_flight)

    def steps(key: bytes) -> Steps:
        return rewrap(key, bench.masters.ids)

    try:
        return await run.follow_all("rewrapping", [row.key for row in rows], steps)
    finally:
        run.close()


async def test_each_row_gets_one_for_three_calls_and_none_the_second_time() -> None:
    bench = Bench()
    rows = [row_by(bench.old) for _ in range(20)]
    bench.keep(*rows)
    counts = await rewrapped(bench, rows)
    assert (counts.outcomes, counts.failures, counts.calls) == ({Outcome.added: 20}, {}, 60)
    first = dict(bench.keystore.kept)
    counts = await rewrapped(bench, rows)
    assert (counts.outcomes, counts.calls) == ({Outcome.there: 20}, 20)
    assert bench.keystore.kept == first
    assert set(map(tuple, key_ids(bench.keystore).values())) == {("fakekms://new", "fakekms://old")}


async def test_no_more_calls_are_under_way_than_asked_for() -> None:
    bench = Bench()
    rows = [row_by(bench.old) for _ in range(30)]
    bench.keep(*rows)
    meeting = threading.Barrier(3)
    lock, now, most = threading.Lock(), [0], [0]

    def enter(_: str) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meeting.wait(30)
        with lock:
            now[0] -= 1

    bench.old.before_call = enter
    counts = await rewrapped(bench, rows, in_flight=3)
    assert counts.outcomes == {Outcome.added: 30}
    assert most == [3]


async def test_what_gets_no_answer_is_repeated_and_then_counted() -> None:
    bench = Bench()
    rows = [row_by(bench.old)]
    bench.keep(*rows)
    bench.old.fail_next(*(KmsUnavailable("throttled", operation="unwrap") for _ in range(4)))
    assert (await rewrapped(bench, rows)).outcomes == {Outcome.added: 1}
    assert len(bench.waits) == 4
    assert bench.waits == sorted(bench.waits) or max(bench.waits) > min(bench.waits)
    more = [row_by(bench.old)]
    bench.keep(*more)
    before = bench.keystore.kept[more[0].key]
    bench.old.down = True
    counts = await rewrapped(bench, more)
    assert counts.failures["the KMS did not answer"].first == more[0].key
    assert bench.keystore.kept[more[0].key] == before


async def test_one_rows_trouble_costs_the_others_nothing() -> None:
    bench = Bench()
    rows = [row_by(bench.old) for _ in range(5)]
    bench.keep(*rows)
    bench.keystore.kept[rows[1].key] = b"rubbish", "1"
    del bench.keystore.kept[rows[3].key]
    counts = await rewrapped(bench, rows)
    assert counts.outcomes == {Outcome.added: 3}
    assert counts.failed == 2
    assert counts.failures["the row is gone from the keystore"].first == rows[3].key


async def test_it_stops_where_all_fails() -> None:
    bench = Bench()
    rows = [row_by(bench.old) for _ in range(150)]
    bench.keep(*rows)
    bench.old.denied = True
    counts = await rewrapped(bench, rows)
    assert counts.failed + counts.untried == 150
    assert 100 <= counts.failed < 150
    assert counts.failures["the master key is disabled"].rows == counts.failed


async def test_a_keystore_that_refuses_to_write_changes_nothing() -> None:
    bench = Bench()
    rows = [row_by(bench.old)]
    bench.keep(*rows)
    bench.keystore.refuses = {"put"}
    counts = await rewrapped(bench, rows)
    assert counts.failures["the keystore refused"].rows == 1


async def test_a_write_that_got_no_answer_is_looked_at() -> None:
    bench = Bench()
    rows = [row_by(bench.old)]
    bench.keep(*rows)
    errors = [StoreUnavailable("no answer", operation="put")]

    def lose(operation: str) -> None:
        if operation == "put" and errors:
            raise errors.pop()

    bench.keystore.before_call = lose
    assert (await rewrapped(bench, rows)).outcomes == {Outcome.added: 1}


async def test_a_survey_leaves_out_what_is_no_row_and_other_namespaces() -> None:
    bench = Bench("prod", "dev")
    bench.keep(row_by(bench.old), row_by(bench.old, namespace="dev"), row_by(bench.new))
    bench.keystore.kept[bytes(32)] = b"rubbish", "1"
    run = bench.run()
    survey = await run.survey(0.0)
    assert (survey.rows, survey.unreadable, survey.lacking, survey.elsewhere) == (4, 1, 2, 0)
    survey = await run.survey(0.0, frozenset({"dev"}))
    assert (survey.rows, survey.lacking, survey.elsewhere) == (4, 1, 2)
    bench.keystore.refuses = {"rows"}
    with pytest.raises(StoreRefused):
        await run.survey(0.0)
    run.close()


async def test_a_keystore_that_takes_no_writes_any_more_is_named_as_the_reason() -> None:
    bench = Bench()
    row = row_by(bench.old)
    bench.keep(row)

    def lose(operation: str) -> None:
        if operation == "put":
            raise StoreUnavailable("it is a replica")

    bench.keystore.before_call = lose
    counts = await rewrapped(bench, [row])
    [reason] = counts.failures
    assert "replica" in reason
    assert (bench.new.wraps, bench.row(row)) == (1, row), "wrapped once, not at each attempt to write"
