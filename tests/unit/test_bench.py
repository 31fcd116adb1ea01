"""The page of `make bench` says what was measured and what was not, and the guard fails beyond noise alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidTag

from benchmarks import bench, guard
from benchmarks.guard_operations import Operations
from benchmarks.guard_verdict import TOLERANCE, Ratio, find_slower
from benchmarks.side_by_side import calls, latency, own, peer_pages, processor_time, targets
from benchmarks.side_by_side.documents import BATCH_NAME, SIZES, make_payloads
from benchmarks.side_by_side.entrant import Entrant, close
from benchmarks.side_by_side.kms import ARN, InProcessKms
from benchmarks.side_by_side.page import Run, render
from benchmarks.side_by_side.sections import SECTIONS, Section, arguments
from benchmarks.side_by_side.spread import Spread, quotients
from benchmarks.side_by_side.tables import cell, figure, generic, prose, time_of

ENTRANTS = own.entrants()
FAILS = Section("fails", "What fails", "none.py", lambda result: "text")


# --- those who are compared ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entrant", ENTRANTS, ids=lambda entrant: entrant.name)
async def test_an_entrant_opens_what_another_of_its_codecs_sealed(entrant: Entrant) -> None:
    new = entrant.prepare(InProcessKms())
    writer, reader = new(), new()
    payloads = make_payloads(1 << 10, 3)
    sealed = await writer.encode(payloads)
    assert all(payload.data not in other.data for payload, other in zip(payloads, sealed, strict=True))
    assert await reader.decode(sealed) == payloads
    close(writer)
    close(reader)


def test_the_kms_binds_the_context_and_counts_calls() -> None:
    kms = InProcessKms()
    client: Any = kms.client
    wrapped = client.encrypt(KeyId=ARN, Plaintext=b"k" * 32, EncryptionContext={"a": "b"})["CiphertextBlob"]
    assert len(wrapped) == 184  # as AWS makes it
    assert client.decrypt(CiphertextBlob=wrapped, EncryptionContext={"a": "b"})["Plaintext"] == b"k" * 32
    with pytest.raises((InvalidTag, ClientError)):
        client.decrypt(CiphertextBlob=wrapped, EncryptionContext={"a": "c"})
    assert kms.calls == 3


@pytest.mark.parametrize("size", SIZES.values())
def test_documents_have_the_size_and_differ(size: int) -> None:
    first, second = make_payloads(size, 2)
    assert len(first.data) == len(second.data) == size
    assert first.data != second.data
    assert make_payloads(size, 1) == [first]


async def test_a_row_for_each_entrant_size_and_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_time, "SIZES", {"100 B": 100})
    entrants = [entrant for entrant in ENTRANTS if entrant.name in (own.STATIC, own.OURS)]
    rows = await processor_time.measure(entrants, rounds=2, seconds=0.0)
    assert {(row["entrant"], row["size"], row["operation"]) for row in rows} == {
        (entrant.name, size, operation)
        for entrant in entrants
        for size in ("100 B", BATCH_NAME)
        for operation in ("encode", "decode")
    }
    assert {row["of_static"] for row in rows if row["entrant"] == own.STATIC} == {1.0}
    assert peer_pages.time({"rows": rows}).count("\n| this library |") == 3


@pytest.mark.slow
async def test_calls_of_who_asks_the_kms_each_time_are_scaled_to_all_payloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAYLOADS", 50)
    rows = await calls.measure(ENTRANTS, seconds=60.0)
    found = {row["entrant"]: (row["writer"], row["reader"]) for row in rows}
    assert found[own.STATIC] == (0, 0)
    assert found[own.OURS] == (2, 1)
    assert found[own.PER_PAYLOAD] == found[own.DIRECT] == (50, 50)
    monkeypatch.setattr(calls, "PAYLOADS", 10_000)
    [row] = await calls.measure([entrant for entrant in ENTRANTS if entrant.name == own.PER_PAYLOAD], seconds=0.02)
    assert row["payloads"] < 10_000
    assert row["writer"] == 10_000


async def test_a_slow_kms_is_measured_in_all_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "LATENCIES", (0,))
    rows = await latency.measure([entrant for entrant in ENTRANTS if entrant.name == own.OURS], rounds=1)
    assert set(latency.PHASES) < rows[0].keys()
    assert "first decode" in peer_pages.latency({"rows": rows})


# --- figures ------------------------------------------------------------------------------------------------------


def test_figures_have_the_digits_that_count() -> None:
    assert [figure(value) for value in (0, 0.0012, 0.0512, 0.512, 5.12, 51.23, 512.3, 51_234.5)] == [
        *("0", "0.0012", "0.051", "0.51", "5.12", "51.2", "512", "51,234"),
    ]
    assert [time_of(value) for value in (5.12, 5_120, 5_120_000)] == ["5.12 µs", "5.12 ms", "5.12 s"]


def test_a_spread_is_of_quotients_within_rounds() -> None:
    assert quotients([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == Spread(2.0, 2.0, 2.0)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(2.0, 3.0, 4.0)


def test_rows_of_any_program_become_a_table() -> None:
    rows: list[dict[str, Any]] = [
        {"what": "a|b", "size": 1_234, "ratio": {"median": 1.5, "low": 1.0, "high": 2.0, "absolute": 7}},
        {"more": None},
    ]
    assert generic(rows).splitlines()[2:] == ["| a\\|b | 1,234 | 1.50 (1.00–2.00) | – |", "| – | – | – | – |"]
    assert cell(True) == "yes"
    assert max(map(len, prose("word " * 100).splitlines())) <= 120


# --- promises -----------------------------------------------------------------------------------------------------


def _ratio(value: float) -> dict[str, float]:
    return {"median": value, "low": value, "high": value}


def _results(ratio: float = 1.0) -> dict[str, dict[str, Any]]:
    """Return made-up figures in all of which this library's is ``ratio``."""
    spread = {f"of_{other}{end}": ratio for other in ("static", "ours") for end in ("_low", "", "_high")}
    times = [
        {"entrant": name, "size": size, "operation": operation, "microseconds": ratio, **spread}
        for name in (own.OURS, "AWS Encryption SDK, caching")
        for size in (*SIZES, BATCH_NAME)
        for operation in ("encode", "decode")
    ]
    worker = [
        {"size": size, "variant": variant, **{field: _ratio(ratio) for field in ("cpu", "wire", "history_bytes")}}
        for size in (1 << 10, 10 << 10, 100 << 10, 1 << 20)
        for variant in ("sealed", "zstd")
    ]
    counted = [
        {"variant": name, "instructions": value, "ratio": 1.0} for name, value in (("sealed", ratio), ("idle", 1.0))
    ]
    replays = {"events": 1_994, "shape": "one at a time", "cold": ratio, "warm": 1.0, "ratio": ratio, "calls": 4}
    peers: dict[str, Any] = {
        "entrants": [{"name": "this", "setup": "so", "source": ""}],
        "missing": {"Tink": "no wheel"},
    }
    return {
        "peers-time": {"rows": times, "versions": {"tink": "1.2.3"}, **peers},
        "peers-memory": {"rows": [{"entrant": own.OURS, "encode": ratio, "decode": ratio}], **peers},
        "worker": {"rows": worker, "variants": {"sealed": "this library"}},
        "worker-instructions": {"instructions": counted},
        "replay": {"rows": [replays]},
    }


def test_a_promise_is_held_missed_or_not_measured() -> None:
    held = targets.render(_results(0.0))
    assert held.count("| held |") == len(list(targets.targets())) - 4  # AWS's must be at least
    missed = targets.render(_results(100.0))
    assert missed.count("**missed**") == len(list(targets.targets())) - 5  # those four, and the number of calls
    assert targets.render({}).count("not measured") == len(list(targets.targets()))


def test_what_the_table_shows_decides() -> None:
    target = targets.Target("some", 1.05, lambda results: 1.0549)
    assert target.cells({}) == ["some", "≤ 1.05", "1.05", "held"]
    assert targets.Target("some", 1.05, lambda results: 1.0551).cells({})[3] == "**missed**"


# --- the page -----------------------------------------------------------------------------------------------------


def _run(results: Mapping[str, Mapping[str, Any]], **more: Any) -> Run:
    return Run(results, {"processor": "some", "cores": "2"}, **more)


def test_the_page_has_what_was_measured_and_leaves_out_the_rest() -> None:
    said = render(_run(_results(), versions={"tink": "1.2.3"}))
    headings = [line for line in said.splitlines() if line.startswith("## ")]
    assert headings == [
        *("## Promises", "## Processor time", "## Peak memory", "## A real worker", "## A real worker's instructions"),
        *("## Replay", "## Who is compared", "## Temporal's proxy", "## Machine and versions"),
    ]
    assert "| Tink | not measured in this run: no wheel |" in said
    assert "| tink | 1.2.3 |" in said
    assert "short run" not in said
    assert all(len(line) <= 128 for line in said.splitlines() if not line.startswith("|"))


def test_a_section_that_failed_is_named_and_the_others_stay() -> None:
    said = render(_run(_results(), failures={"fails": "it ended."}), [*SECTIONS, FAILS])
    assert "## What fails" in said
    assert "It failed in this run: it ended." in said
    assert "## A real worker" in said


def test_nothing_measured_is_a_page_as_well() -> None:
    said = render(_run({}, quick=True))
    assert "**This was a short run" in said
    assert "## Processor time" not in said


def test_every_section_has_a_short_run_or_is_left_out_of_it() -> None:
    left_out = [section.name for section in SECTIONS if arguments(section, quick=True) is None]
    assert left_out == ["worker-instructions", "event_loop"]
    assert sum(section.timeout for section in SECTIONS) < 3_600


# --- programs -----------------------------------------------------------------------------------------------------

_WRITES = "import json, sys; json.dump({'rows': []}, open(sys.argv[sys.argv.index('--json') + 1], 'w'))"


@pytest.mark.parametrize(
    ("program", "timeout", "failure"),
    [
        (_WRITES, 60.0, None),
        (f"{_WRITES}; sys.exit(1)", 60.0, None),  # it missed a bar of its own
        ("import sys; sys.exit(3)", 60.0, "it ended with exit code 3 and wrote no figures."),
        ("import signal; signal.pause()", 0.2, "it took more than 0 s."),
    ],
    ids=["writes", "misses a bar", "fails", "hangs"],
)
def test_a_program_counts_if_it_wrote_its_figures(
    tmp_path: Path, program: str, timeout: float, failure: str | None
) -> None:
    (tmp_path / "program.py").write_text(program)
    section = Section("some", "Some", str(tmp_path / "program.py"), str, timeout=timeout, with_peers=True)
    assert bench.run_section(section, [], tmp_path / "some.json") == failure


def test_figures_of_all_sections_are_read(tmp_path: Path) -> None:
    for name in ("replay", "worker", "other"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": [name]}))
    assert bench.read_results(tmp_path) == {"worker": {"rows": ["worker"]}, "replay": {"rows": ["replay"]}}


# --- the guard ----------------------------------------------------------------------------------------------------


def test_a_ratio_is_of_the_best_rounds_and_of_the_median_round() -> None:
    ratio = Ratio.of([3.0, 4.0, 9.0], [1.0, 2.0, 3.0])
    assert (ratio.best, ratio.middle, ratio.lower) == (3.0, 3.0, 3.0)
    assert Ratio.of([4.0, 4.0, 4.0], [1.0, 2.0, 2.0]).lower == 2.0


@pytest.mark.parametrize(("share", "over"), [(1.25, True), (1.10, False), (1.0, False), (0.5, False)])
def test_a_quarter_more_is_over_and_noise_is_not(share: float, over: bool) -> None:
    ratio = Ratio(best=3.0 * share, middle=3.2 * share)
    assert find_slower({"some": ratio}, {"some": 3.0}) == (["some"] if over else [])
    assert 1.1 < TOLERANCE < 1.25


def test_both_figures_have_to_be_over() -> None:
    assert find_slower({"some": Ratio(best=9.0, middle=3.0)}, {"some": 3.0}) == []
    assert find_slower({"some": Ratio(best=3.0, middle=9.0)}, {"some": 3.0}) == []
    assert find_slower({"new": Ratio(9.0, 9.0)}, {}) == []


def _check(*attempts: Mapping[str, float]) -> tuple[list[str], list[list[str] | None]]:
    """Return what the guard finds if the attempts measure these ratios, and what each of them was to measure."""
    asked: list[list[str] | None] = []

    def measure_again(only: list[str] | None) -> Mapping[str, Ratio]:
        asked.append(only)
        measured = attempts[len(asked) - 1]
        return {name: Ratio(value, value) for name, value in measured.items() if only is None or name in only}

    return guard.check({"encode": 3.0, "decode": 5.0}, measure_again), asked


def test_what_is_over_is_measured_again_and_fails_the_third_time() -> None:
    slow = {"encode": 3.75, "decode": 5.0}
    assert _check(slow, slow, slow) == (["encode"], [None, ["encode"], ["encode"]])


def test_one_attempt_that_is_not_over_is_enough() -> None:
    assert _check({"encode": 9.0, "decode": 9.0}, {"encode": 3.1, "decode": 9.0}, {"decode": 5.2}) == (
        [],
        [None, ["encode", "decode"], ["decode"]],
    )
    assert _check({"encode": 3.0, "decode": 5.0}) == ([], [None])


def test_a_baseline_is_written_for_this_python_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(guard, "PYTHON", "3.11")
    values = iter((3.0, 5.0, 4.0, 9.0, 1.0))
    (tmp_path / "baseline.json").write_text('{"3.9": {"encode": 1.0}, "3.12": {"encode": 2.0}, "3.11": {"old": 1.0}}')
    guard.write(lambda only: {"encode": Ratio(*[next(values)] * 2)})
    assert list(guard.read_baselines().items()) == [
        ("3.9", {"encode": 1.0}),
        ("3.11", {"encode": 4.0}),
        ("3.12", {"encode": 2.0}),
    ]


def test_a_python_without_a_baseline_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr("sys.argv", ["guard.py"])
    assert guard.main() == 0
    assert "not compared: baseline.json has nothing for Python" in capsys.readouterr().out


def test_the_committed_baselines_have_every_operation() -> None:
    operations = Operations()
    measured = set(asyncio.run(operations._prepare()))
    operations.close()
    baselines = guard.read_baselines()
    assert "3.11" in baselines
    for version, ratios in baselines.items():
        assert set(ratios) == measured, version


def test_the_page_in_docs_has_every_promise() -> None:
    said = (bench.DOCS / "benchmarks.md").read_text("utf-8")
    for target in targets.targets():
        assert f"| {target.promise} | " in said
