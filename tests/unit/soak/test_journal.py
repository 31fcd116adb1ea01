"""Files of JSON lines."""

from __future__ import annotations

from pathlib import Path

from tests.soak.journal import Journal, lines_of


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert list(lines_of(path)) == []
    for number in range(2):
        journal = Journal(path)
        journal.write(number=number)
        journal.close()
    first, second = lines_of(path)
    assert (first["number"], second["number"]) == (0, 1)
    assert first["at"] <= second["at"]


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text('{"number": 1}\n{"numb')
    assert [line["number"] for line in lines_of(path)] == [1]
