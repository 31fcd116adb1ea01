"""Writes the files of the example of a third party into the pages that show them.

Run: ``python tools/example_code.py``. A page shows a file between a mark, ``<!-- file: PATH -->`` with the path below
``examples/third_party``, and the end of the block of code after it.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "third_party"
PAGES = tuple(ROOT / "docs" / f"write-a-{what}.md" for what in ("provider", "keystore"))

_SHOWN = re.compile(r"<!-- file: (\S+) -->\n\n```(\w+)\n.*?\n```\n", re.DOTALL)


def page(text: str) -> str:
    """Make a page as it should be, from what it is."""
    return _SHOWN.sub(lambda match: _show(match[1], match[2]), text)


def shown_files(text: str) -> list[str]:
    """The paths of the files that a page shows."""
    return [match[1] for match in _SHOWN.finditer(text)]


def _show(path: str, language: str) -> str:
    code = (EXAMPLE / path).read_text("utf-8").rstrip()
    return f"<!-- file: {path} -->\n\n```{language}\n{code}\n```\n"


def main() -> None:
    """Write the pages."""
    for path in PAGES:
        path.write_text(page(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
