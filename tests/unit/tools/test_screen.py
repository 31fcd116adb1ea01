"""What a command printed, as a picture."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from tools.pictures.screen import Screen, audits


def texts(svg: str) -> list[str]:
    return [unescape(one) for one in re.findall(r"<text [^>]*>([^<]*)</text>", svg)]


def test_lines_break_where_a_terminal_breaks_them() -> None:
    svg = Screen("n", "t", "tool", f"Heading <&>\n  fact {'x' * 100}\n\nend\n").svg()
    assert texts(svg) == ["$ tool", "Heading <&>", f"  fact {'x' * 53}", "x" * 47, "end"]
    assert svg.count('class="title"') == 2


def test_a_picture_is_narrow_enough_for_a_telephone(tmp_path: Path) -> None:
    for name in ("audit-before.txt", "audit-after.txt"):
        (tmp_path / name).write_text("Complete\n", "utf-8")
    for picture in audits(tmp_path):
        width = re.search(r'width="(\d+)"', picture.svg())
        assert width is not None
        assert 12 * 400 / int(width[1]) > 10, "pixels of a character's height, at 400 pixels"
