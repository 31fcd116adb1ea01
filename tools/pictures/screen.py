"""What a command printed on a narrow terminal, as SVG that can be read in light and in dark mode."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path

_COLUMNS = 60
_ADVANCE = 7.25  # pixels from one character to the next
_LEADING = 16.0
_MARGIN = 12.0

_STYLE = """
text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; white-space: pre }
.title { font-weight: 700 }
.bar { fill: #57606a }
.page { fill: #ffffff; stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.bar { fill: #9da7b1 }
.page { fill: #0d1117; stroke: #3d444d }
}
"""


@dataclass(frozen=True)
class Screen:
    """A terminal with what a command has printed.

    Args:
        name: of its file, without the ending.
        title: what it shows, for people who hear it read.
        command: that was run.
        printed: by it.
    """

    name: str
    title: str
    command: str
    printed: str

    def svg(self) -> str:
        """The picture as text."""
        command = textwrap.wrap(f"$ {self.command}", _COLUMNS, subsequent_indent="    ", break_on_hyphens=False)
        lines = [*(("bar", line) for line in command), *self._lines()]
        width = _COLUMNS * _ADVANCE + 2 * _MARGIN
        height = _LEADING * len(lines) + 2 * _MARGIN
        texts = [
            f'<text class="{style}" x="{_MARGIN:g}" y="{_MARGIN + _LEADING * number + 12:g}" '
            f'textLength="{_ADVANCE * len(line):g}" xml:space="preserve">{escape(line)}</text>'
            for number, (style, line) in enumerate(lines)
            if line
        ]
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
                f'height="{height:g}" role="img">',
                f"<title>{escape(self.title)}</title>",
                "<!-- Written by tools/pictures/draw.py; do not edit. -->",
                f"<style>{_STYLE}</style>",
                f'<rect class="page" x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="6"/>',
                *texts,
                "</svg>",
                "",
            ]
        )

    def _lines(self) -> list[tuple[str, str]]:
        """Break lines as a terminal does, and give each its style."""
        lines = []
        for line in self.printed.splitlines():
            text = line.rstrip()
            style = "" if text.startswith(" ") else "title"
            lines += [(style, text[begin : begin + _COLUMNS]) for begin in range(0, max(1, len(text)), _COLUMNS)]
        return lines


def audits(folder: Path) -> list[Screen]:
    """Draw what audits printed: ``make demo-rekey PICTURES=1`` has left it in ``folder``."""
    command = "envelope-codec audit --namespace default"
    return [
        Screen(
            f"audit-{when}",
            f"What audit prints {when} a master key is retired",
            command if when == "before" else f"{command} --fail-if-needed OLD --rewrapped-to NEW",
            (folder / f"audit-{when}.txt").read_text("utf-8"),
        )
        for when in ("before", "after")
    ]
