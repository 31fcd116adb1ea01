"""Tables that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope_codec.cli.doctor.watch.grid import clip, rows_of


@pytest.mark.parametrize(
    ("text", "width", "clipped"),
    [("short", 5, "short"), ("abcdefghij", 7, "ab…ghij"), ("abcdef", 3, "abc"), ("abc", 0, "")],
)
def test_text_is_shortened_in_its_middle(text: str, width: int, clipped: str) -> None:
    assert clip(text, width) == clipped


def test_a_table_with_room_is_left_alone() -> None:
    assert rows_of(("a", "key"), [("1", "x" * 20)], 100) == ["  a  key", "  1  " + "x" * 20]


def test_the_widest_column_gives_way_first() -> None:
    head, row = rows_of(("namespace", "key"), [("prod", "arn:aws:" + "k" * 80)], 50)
    assert head.startswith("  namespace key")
    assert len(row) == 50
    assert row.startswith("  prod      arn:aws:kkkk")


def test_nothing_in_a_cell_is_obeyed_by_a_terminal() -> None:
    assert rows_of(("a",), [("x\x1b[31m\n",)], 80)[1] == "  x\\x1b[31m\\x0a"


@given(
    st.lists(st.lists(st.text(max_size=300), min_size=4, max_size=4), max_size=4),
    st.integers(min_value=1, max_value=200),
)
def test_no_line_is_wider_than_the_screen(rows: list[list[str]], width: int) -> None:
    assert all(len(line) <= width for line in rows_of(("a", "bb", "ccc", "dddd"), rows, width))
