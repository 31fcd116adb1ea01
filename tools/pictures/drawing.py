"""Boxes, arrows and words as SVG, readable in light and in dark mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

TITLE = 13.0  # pixels
TEXT = 11.5
_BOLD = 1.06
_LEADING = 16.0
_MARGIN = 10.0

_STYLE = """
text { font-family: system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: #1f2328; font-size: 11.5px }
.title { font-weight: 600; font-size: 13px }
.muted { fill: #57606a }
.middle { text-anchor: middle }
.end { text-anchor: end }
.page { fill: #ffffff }
.zone { fill: none; stroke: #8c959f; stroke-dasharray: 5 4 }
.plain { fill: #f6f8fa; stroke: #57606a }
.ours { fill: #ddf4ff; stroke: #0969da }
.kms { fill: #fff1e5; stroke: #bc4c00 }
.sealed { fill: #dafbe1; stroke: #1a7f37 }
.bad { fill: #ffebe9; stroke: #cf222e }
.arrow { fill: none; stroke: #57606a; stroke-width: 1.3 }
.slow { stroke-dasharray: 4 3 }
.head { fill: #57606a }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.muted { fill: #9da7b1 }
.page { fill: #0d1117 }
.zone { stroke: #6e7681 }
.plain { fill: #161b22; stroke: #8b949e }
.ours { fill: #0c2d48; stroke: #58a6ff }
.kms { fill: #3b1e0a; stroke: #f0883e }
.sealed { fill: #0b2f17; stroke: #3fb950 }
.bad { fill: #3c1413; stroke: #f85149 }
.arrow { stroke: #9da7b1 }
.head { fill: #9da7b1 }
}
"""


def width_of(text: str, size: float) -> float:
    """Estimate the width of ``text`` in pixels, on the wide side: a reader's fonts are not known."""
    narrow, wide = "iIljtfr.,:;'|!()[]/ ", "mwMW@—→"
    ems = sum(0.38 if c in narrow else 0.95 if c in wide else 0.72 if c.isupper() else 0.6 for c in text)
    return ems * size


@dataclass(frozen=True)
class Box:
    """A rectangle that has been drawn."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """The middle of the left side."""
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        """The middle of the right side."""
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> tuple[float, float]:
        """The middle of the upper side."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of the lower side."""
        return self.x + self.width / 2, self.y + self.height

    def at_left(self, part: float) -> tuple[float, float]:
        """A point of the left side; ``part`` is 0 at the top and 1 at the bottom."""
        return self.x, self.y + self.height * part

    def at_right(self, part: float) -> tuple[float, float]:
        """A point of the right side; ``part`` is 0 at the top and 1 at the bottom."""
        return self.x + self.width, self.y + self.height * part

    def at_top(self, part: float) -> tuple[float, float]:
        """A point of the upper side; ``part`` is 0 at the left and 1 at the right."""
        return self.x + self.width * part, self.y

    def at_bottom(self, part: float) -> tuple[float, float]:
        """A point of the lower side; ``part`` is 0 at the left and 1 at the right."""
        return self.x + self.width * part, self.y + self.height


@dataclass
class Picture:
    """A picture in the making.

    Args:
        name: of its file, without the ending.
        title: what it shows, for people who hear it read.
        width, height: in pixels.
    """

    name: str
    title: str
    width: float
    height: float
    _parts: list[str] = field(default_factory=list)

    def box(
        self, x: float, y: float, width: float, *lines: str, style: str = "plain", height: float = 0, round: float = 4
    ) -> Box:
        """Draw a box with a title, which is the first line, and text below it.

        Raises:
            ValueError: a line is too long for the box, or the box leaves the picture.
        """
        needed = _LEADING * len(lines) + 2 * (_MARGIN - 2)
        height = height or needed
        for number, line in enumerate(lines):
            if width_of(line, TEXT if number else TITLE * _BOLD) > width - 2 * _MARGIN + 6:
                raise ValueError(f"{self.name}: too long for its box of {width}: {line!r}")
        if needed > height or x + width > self.width or y + height > self.height:
            raise ValueError(f"{self.name}: no room for {lines[0]!r}")
        rectangle = f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round:g}"/>'
        self._parts.append(rectangle)
        first = y + (height - _LEADING * len(lines)) / 2 + 12
        for number, line in enumerate(lines):
            kind = "muted middle" if number else "title middle"
            self.text(x + width / 2, first + _LEADING * number, line, kind)
        return Box(x, y, width, height)

    def zone(self, x: float, y: float, width: float, height: float, name: str) -> Box:
        """Draw a dashed frame with its name at the upper left."""
        rectangle = f'<rect class="zone" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'
        self._parts.append(rectangle)
        self.text(x + 10, y + 18, name, "muted")
        return Box(x, y, width, height)

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        """Write one line. ``style`` may be ``title``, ``muted``, ``middle`` and ``end``, with blanks between them."""
        self._parts.append(f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(words)}</text>')

    def arrow(
        self,
        *points: tuple[float, float],
        label: str = "",
        at: tuple[float, float] | None = None,
        slow: bool = False,
        style: str = "middle",
    ) -> None:
        """Draw an arrow through ``points``, with lines of ``label`` at a point: above its middle if none is given."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        kind = "arrow slow" if slow else "arrow"
        self._parts.append(f'<path class="{kind}" d="{path}" marker-end="url(#head)"/>')
        if label:
            lines = label.split("\n")
            middle = ((points[0][0] + points[-1][0]) / 2, (points[0][1] + points[-1][1]) / 2 - 6)
            x, y = at or (middle[0], middle[1] - _LEADING * (len(lines) - 1))
            for number, line in enumerate(lines):
                self.text(x, y + _LEADING * number, line, f"muted {style}")

    def start(self, x: float, y: float) -> tuple[float, float]:
        """Draw the dot from which a state diagram begins."""
        self._parts.append(f'<circle class="head" cx="{x:g}" cy="{y:g}" r="6"/>')
        return x, y

    def svg(self) -> str:
        """The picture as text."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        marker = (
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path class="head" d="M0 0 L10 5 L0 10 z"/></marker></defs>'
        )
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(self.title)}</title>",
            "<!-- Written by tools/pictures/draw.py; do not edit. -->",
            f"<style>{_STYLE}</style>",
            marker,
            f'<rect class="page" width="{self.width:g}" height="{self.height:g}" rx="6"/>',
            *self._parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"
