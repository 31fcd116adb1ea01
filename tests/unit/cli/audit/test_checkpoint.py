"""The checkpoint: what is in it is what was put, and no other file is taken for one."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from envelope_codec.cli.audit.checkpoint import Checkpoint, Result
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import Part, Window
from envelope_codec.errors import ConfigurationError
from tests.support.audited_payloads import record

PARAMETERS = {"--address": "a:1", "--namespace": "n", "--query": ""}
WINDOW = Window(Part.closed, 0, 10)


def result(payloads: int) -> Result:
    tally = Tally()
    tally.add_record(record("OLD"), payloads)
    tally.end_source("w", 1.5)
    return Result(tally, array("Q", [1, 2**64 - 1]), 7)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    with Checkpoint(path, PARAMETERS, None) as checkpoint:
        checkpoint.begin(10)
        checkpoint.plan(Part.closed, [WINDOW])
        checkpoint.put(WINDOW, result(5))
        checkpoint.put(WINDOW, result(2))
    return path


def test_the_last_result_of_a_window_counts(file: Path) -> None:
    with Checkpoint(file, PARAMETERS, None) as checkpoint:
        assert (checkpoint.as_of, checkpoint.windows) == (10, {Part.closed: [WINDOW]})
        assert checkpoint.results == {WINDOW: result(2)}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_short_does_not_count(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with Checkpoint(file, PARAMETERS, None) as checkpoint:
        assert checkpoint.results == {WINDOW: result(5)}
        checkpoint.put(WINDOW, result(2))
    assert file.read_bytes() == whole


def test_a_file_that_was_cut_short_anywhere_is_read_or_begun(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole), 11):
        cut = tmp_path / f"cut{length}"
        cut.write_bytes(whole[:length])
        with Checkpoint(cut, PARAMETERS, None) as checkpoint:
            checkpoint.begin(10)
            checkpoint.plan(Part.closed, [WINDOW])
        with Checkpoint(cut, PARAMETERS, 10) as checkpoint:
            assert checkpoint.windows == {Part.closed: [WINDOW]}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_another_run_s_is_refused_and_left(file: Path, name: str) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match=f"of another audit, with another {name}"):
        Checkpoint(file, PARAMETERS | {name: "other"}, None).__enter__()
    with pytest.raises(ConfigurationError, match="with another --as-of"):
        Checkpoint(file, PARAMETERS, 11).__enter__()
    assert file.read_bytes() == before


def test_a_run_that_imports_does_not_go_on_from_one_that_did_not(file: Path, tmp_path: Path) -> None:
    """The records of what was counted there are not in the keystore."""
    importing = PARAMETERS | {"--import": "yes"}
    with pytest.raises(ConfigurationError, match="of another audit, with another --import"):
        Checkpoint(file, importing, None).__enter__()
    with Checkpoint(tmp_path / "other", importing, None) as checkpoint:
        checkpoint.begin(10)
    with pytest.raises(ConfigurationError, match="of another audit, with another --import"):
        Checkpoint(tmp_path / "other", PARAMETERS, None).__enter__()


@pytest.mark.parametrize(
    "content",
    [
        *("notes\n", "notes", "{}\n", "[]\n", "1\n", '{"format": "envelope-codec/storage-gc-1"}\n', "\n"),
        '{"format": "envelope-codec/audit-1", "parameters": {}}\n',
    ],
)
def test_another_file_is_refused_and_left(content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="checkpoint of an"):
        Checkpoint(path, PARAMETERS, None).__enter__()
    assert path.read_text() == content


@pytest.mark.parametrize("line", ["{}", '{"part": "x", "windows": []}', '{"window": ["closed", 0, 1]}', "1"])
def test_a_damaged_line_is_refused(file: Path, line: str) -> None:
    with file.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(ConfigurationError, match="is no checkpoint"):
        Checkpoint(file, PARAMETERS, None).__enter__()


def test_only_one_process_uses_it(file: Path) -> None:
    with (
        Checkpoint(file, PARAMETERS, None),
        pytest.raises(ConfigurationError, match="is in use by another audit"),
        Checkpoint(file, PARAMETERS, None),
    ):
        pass


def test_a_file_that_can_t_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't open"):
        Checkpoint(tmp_path / "none" / "file", PARAMETERS, None).__enter__()


def test_without_a_file_nothing_is_kept() -> None:
    with Checkpoint(None, PARAMETERS, None) as checkpoint:
        checkpoint.begin(10)
        checkpoint.put(WINDOW, result(1))
        assert checkpoint.results == {WINDOW: result(1)}
