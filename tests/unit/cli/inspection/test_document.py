"""What ``envelope-codec inspect`` reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envelope_codec.cli.inspection import document as inspect_document
from tests.support.inspected_payloads import E, Run


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_what_powershell_writes_is_read(run: Run, encoding: str) -> None:
    assert run(json.dumps(E).encode(encoding), "--json").document["summary"]["envelopes"] == 1


def test_a_file_is_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text(json.dumps(E))
    assert run(b"", str(tmp_path / "history.json"), "--json").document["summary"]["envelopes"] == 1
    assert run(json.dumps(E), "-", "--json").document["summary"]["envelopes"] == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the input is empty"),
        (b" \n\t ", "the input is empty"),
        (b"\x00\xff\xfe\x80\x81", "the input is not text: it must be JSON, in UTF-8"),
        (bytes(range(256)), "the input is not"),
        (b"not json", "the input is not JSON: line 1, column 1"),
        (b'{"payloads": [\n  oops', "the input is not JSON: line 2, column 3"),
        (json.dumps(E).encode()[:-1], "the input is not JSON: line 1, column"),
        (b"[" * 100_000, "the input is nested too deeply"),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "the input is nested too deeply"),
        (b'{"payloads":' * 300 + b"[]" + b"}" * 300, "the input is nested too deeply"),
        (b"9" * 10_000, "the input has a number that is too long"),
        (b"{}", "nothing in the input is a payload, or the history of a workflow"),
        (b"[]", "nothing in the input is a payload, or the history of a workflow"),
        (b"null", "nothing in the input is a payload, or the history of a workflow"),
        (b'{"payloads": "none"}', "nothing in the input is a payload, or the history of a workflow"),
        (b'["a", 1, {"metadata": 3, "data": {}}]', "nothing in the input is a payload, or the history of a workflow"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_is_no_input_is_one_line_and_status_2(run: Run, data: bytes, said: str, options: tuple[str, ...]) -> None:
    outcome = run(data, *options)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"envelope-codec: {said}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("path", ["/nonexistent/\x1b[31m", ".", "a\0b", ""])
def test_a_file_that_cannot_be_read_is_one_line_and_status_2(run: Run, path: str) -> None:
    outcome = run(b"", path)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("envelope-codec: can't read ")
    assert outcome.err.count("\n") == 1
    assert outcome.err[:-1].isprintable()


def test_more_than_the_limit_is_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_document, "MAX_BYTES", 1_000)
    assert run(b" " * 998 + b"{}").err == (
        "envelope-codec: nothing in the input is a payload, or the history of a workflow\n"
    )
    outcome = run(b" " * 10_000 + b"{}")
    assert (outcome.status, outcome.err) == (2, "envelope-codec: the input is larger than 1000 bytes\n")
