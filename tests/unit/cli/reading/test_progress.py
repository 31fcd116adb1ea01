"""How far a command has come."""

from __future__ import annotations

import io

import pytest

from envelope_codec.cli.reading.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "no_color", "shown"), [(True, "", True), (True, "1", False), (False, "", False), (False, "1", False)]
)
def test_a_bar_is_for_terminals_without_no_color(
    terminal: bool, no_color: str, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    with Progress() as progress:
        progress.expect("reading [bold]", 2)
        progress.advance()
    assert bool(stream.getvalue()) is shown


def test_a_bar_goes_off_the_screen_for_other_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Progress() as progress:
        progress.expect("reading", 2)
        progress.pause()
        before = stream.getvalue()
        progress.advance()
        assert stream.getvalue() == before
        progress.expect("writing", 2)
        assert "writing" in stream.getvalue()
