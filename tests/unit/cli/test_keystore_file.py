"""A file of rows: whole, or refused."""

from __future__ import annotations

import json
import stat
import tracemalloc
from pathlib import Path

import pytest

from envelope_codec.cli.keystore_file import RowFile, new_row_file
from envelope_codec.errors import ConfigurationError
from envelope_codec.keystore import Kept
from envelope_codec.keystore_row import KeystoreRow
from envelope_codec.testing import FakeKms
from tests.support.rewrapped_rows import row_by


def written(path: Path, count: int = 3) -> list[KeystoreRow]:
    rows = sorted((row_by(FakeKms()) for _ in range(count)), key=lambda row: row.key)
    with new_row_file(path) as new:
        for row in rows:
            new.add(Kept(row.key, row.serialize(), ""))
    assert (new.written, new.left_out) == (count, 0)
    return rows


def test_what_was_written_is_read(tmp_path: Path) -> None:
    rows = written(tmp_path / "file")
    file = RowFile(tmp_path / "file")
    assert list(file.rows()) == rows
    assert file.check() == 3
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_no_row_is_left_out(tmp_path: Path) -> None:
    with new_row_file(tmp_path / "file") as new:
        new.add(Kept(bytes(32), b"rubbish", ""))
    assert (new.written, new.left_out) == (0, 1)
    assert RowFile(tmp_path / "file").check() == 0


def test_a_file_that_is_there_is_left(tmp_path: Path) -> None:
    rows = written(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="left as it is"):
        written(tmp_path / "file")
    assert list(RowFile(tmp_path / "file").rows()) == rows
    with pytest.raises(ConfigurationError, match="left as it is"), new_row_file(tmp_path / "later"):
        (tmp_path / "later").write_text("somebody else's")
    assert (tmp_path / "later").read_text() == "somebody else's"


def test_a_file_that_was_not_ended_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_row_file(tmp_path / "file"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't write"):
        written(tmp_path / "astray" / "file")
    with pytest.raises(ConfigurationError, match="can't read"):
        RowFile(tmp_path / "astray").check()


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "file")
    path, lines = tmp_path / "changed", (tmp_path / "file").read_bytes().splitlines(keepends=True)
    other = json.loads(lines[1])
    wrong = {
        "empty": [],
        "headless": lines[1:],
        "cut short": lines[:-1],
        "cut within a line": [*lines[:2], lines[2][:50]],
        "a row too few": [*lines[:2], *lines[3:]],
        "another order": [lines[0], lines[2], lines[1], *lines[3:]],
        "a row twice": [*lines[:2], lines[1], *lines[2:]],
        "more after its end": [*lines, lines[1]],
        "another format": [b'{"format": "envelope-codec/keystore-2"}\n', *lines[1:]],
        "no row": [lines[0], json.dumps({**other, "row": "AAAA"}).encode() + b"\n", *lines[2:]],
        "no base64": [lines[0], json.dumps({**other, "row": "*"}).encode() + b"\n", *lines[2:]],
        "another key": [lines[0], json.dumps({**other, "key": "00" * 32}).encode() + b"\n", *lines[2:]],
        "no object": [lines[0], b"[]\n", *lines[1:]],
        "nested deep": [lines[0], b"[" * 100_000 + b"\n", *lines[1:]],
        "no text": [b"\xff\n", *lines[1:]],
    }
    for name, changed in wrong.items():
        path.write_bytes(b"".join(changed))
        with pytest.raises(ConfigurationError, match="no whole file"):
            print(name, RowFile(path).check())


def test_a_line_that_is_far_too_long_fills_no_memory(tmp_path: Path) -> None:
    for name, start in (("head", b""), ("row", b'{"format": "envelope-codec/keystore-1"}\n')):
        with (tmp_path / name).open("wb") as stream:
            stream.write(start)
            stream.truncate(64 << 20)
        tracemalloc.start()
        try:
            with pytest.raises(ConfigurationError, match="no whole file"):
                RowFile(tmp_path / name).check()
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
