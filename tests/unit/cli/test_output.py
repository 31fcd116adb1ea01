"""What the commands print."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from typing import Any

import pytest
import typer

from envelope_codec.cli.output import Page, complain, fold, json_text, leave, make_console, plural, printable, width_of


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Zürich", "Zürich"),
        ("a\x1b[31mb\n", r"a\x1b[31mb\x0a"),
        ("\u202e\u200b", r"\u202e\u200b"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_a_terminal_might_obey_is_spelled_out(text: str, spelled: str) -> None:
    assert printable(text) == spelled


def test_a_count_has_its_noun() -> None:
    assert [plural(count, "store") for count in (0, 1, 2)] == ["0 stores", "1 store", "2 stores"]
    assert plural(2, "history", "histories") == "2 histories"


def test_json_is_printable_ascii() -> None:
    text = json_text({"Zürich": "\x1b\x7f\u202e"})
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text) == {"Zürich": "\x1b\x7f\u202e"}


def test_lines_are_folded_at_blanks_and_words_stay_whole() -> None:
    assert fold("a  b", 10) == ["a  b"]
    assert fold("one two three", 8) == ["one two", "three"]
    assert fold("abcdefgh-ij k", 5) == ["abcdefgh-ij", "k"]
    assert fold("abcdefgh k", 5, breaking_words=True) == ["abcde", "fgh k"]


def test_a_complaint_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    complain("two\nlines \x1b[1m")
    assert capsys.readouterr() == ("", "envelope-codec: two\\x0alines \\x1b[1m\n")
    with pytest.raises(typer.Exit) as left:
        leave("no", 2)
    assert left.value.exit_code == 2
    assert capsys.readouterr() == ("", "envelope-codec: no\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    return shown


def print_page(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        page = Page()
        page.heading("Title")
        page.fact("label", "a text that is longer than a narrow terminal is wide", style="red")
        page.line("x" * 50)


def test_a_terminal_has_styles_and_lines_of_its_width(terminal: Terminal) -> None:
    print_page(terminal)
    text = terminal.getvalue()
    assert "\x1b[1mTitle\x1b[0m" in text
    assert "\x1b[31m" in text
    assert "x" * 50 in text, "a word is never cut"
    assert width_of(make_console(terminal)) == 40


@pytest.mark.parametrize(("setting", "styled"), [("1", False), ("0", False), ("", True)])
def test_no_color_leaves_plain_text_of_the_same_width(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, setting: str, styled: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", setting)
    print_page(terminal)
    assert ("\x1b" in terminal.getvalue()) is styled
    assert width_of(make_console(terminal)) == 40


def test_elsewhere_it_is_plain_and_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    stream: Any = io.StringIO()
    monkeypatch.setenv("COLUMNS", "40")
    assert width_of(make_console(stream)) == 100
    make_console(stream).print("text", style="bold")
    assert stream.getvalue() == "text\n"


@pytest.mark.parametrize(("columns", "gap"), [(80, 1), (120, 2)])
def test_a_table_folds_long_words_alone(
    terminal: Terminal, columns: int, gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date that is folded can't be read. The id of a key version may be as long as it likes."""
    names = ("Key", "Version", "Payloads", "Workflows", "Wrapping keys", "Oldest", "Newest", "Seals now")
    row = ("1", "v" * 100, "1,204,000", "37,000", "365", "2025-12-24", "2026-12-24", "no")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stdout(terminal):
        Page().table(names, [row])
    shown = terminal.getvalue()
    assert max(map(len, shown.splitlines())) <= columns
    assert "2025-12-24" + " " * gap + "2026-12-24" in shown
    assert shown.count("v") == 100


def test_a_fact_without_a_label_stands_where_it_is_put(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        Page().fact("", "word " * 30, column=0, indent=5)
    shown = terminal.getvalue()
    assert {len(line) - len(line.lstrip()) for line in shown.splitlines() if line} == {5}


def test_a_table_that_would_be_cut_off_is_a_list_of_facts(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("Key", "Version", "Payloads", "Workflows", "Wrapping keys", "Oldest", "Newest", "Seals now")
    row = ("1", "not told", "2,000", "500", "36", "2026-11-29", "2026-11-30", "yes")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stdout(terminal):
        Page().table(names, [row, row])
    lines = [line.strip() for line in terminal.getvalue().splitlines()]
    assert len(lines) == 2 * len(names) + 1
    assert [line.split("  ")[0] for line in lines[: len(names)]] == list(names)
    assert [line.split("  ")[-1].strip() for line in lines[len(names) + 1 :]] == list(row)
