"""What the demo prints."""

from __future__ import annotations

from collections import Counter

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec.cli.demo.report import Report
from envelope_codec.cli.demo.workflow import Customer


def test_a_step_is_one_line_with_its_remark_and_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Report().step("master key") as remark:
        remark("x" * 150)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("master key               xxx")
    assert lines[0].endswith(" s")
    assert max(map(len, lines)) <= 100
    assert sum(line.count("x") for line in lines) == 150


def test_a_payload_is_shown_in_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    metadata = {"encoding": b"binary/envelope-v1", "encryption-wrapped-key": bytes(70)}
    Report().print_stored(Payload(metadata=metadata, data=bytes(range(100))))
    printed = capsys.readouterr().out
    assert "  encoding               binary/envelope-v1\n" in printed
    assert "  encryption-wrapped-key 70 bytes\n" in printed
    assert "0000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|\n" in printed
    assert "0040" not in printed, "64 bytes are enough"


@pytest.mark.parametrize("failures", [0, 2])
def test_calls_and_failures_are_counted(failures: int, capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter({("wrap", "ok"): 1, ("unwrap", "ok"): 2, ("seal", "ok"): 300, ("open", "ok"): 200})
    counts["wrap", "unavailable"] = failures
    Report().print_calls(counts)
    printed = capsys.readouterr().out
    assert "300 sealed, 200 opened" in printed
    assert "3 (1 wrap, 2 unwrap;" in printed
    assert "100 payloads for each KMS call" in printed
    assert ("failures               2\n" in printed) is bool(failures)


def test_plaintext_that_was_found_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    report, customer = Report(), Customer.invent()
    report.print_search({"histories": {customer.name, customer.passport}, "database": set()})
    report.print_verdict(False)
    printed = capsys.readouterr().out
    assert f"  histories              FOUND: {customer.name}, {customer.passport}\n" in printed
    assert "  database               not found\n" in printed
    assert printed.endswith("\nPLAINTEXT WAS FOUND.\n")


def test_a_command_is_shown_as_one_can_type_it_with_what_it_printed(capsys: pytest.CaptureFixture[str]) -> None:
    line = Report().command(("audit", "--query", "it's", "x" * 60, "y" * 60), "found\n  more\n")
    assert line == f"""envelope-codec audit --query 'it'"'"'s' {"x" * 60} {"y" * 60}"""
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("  $ envelope-codec audit")
    assert printed[-2:] == ["  | found", "  |   more"]
    assert max(map(len, printed)) <= 100
