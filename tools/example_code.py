"""Writes files of the examples into the pages that show them.

Run: ``python tools/example_code.py``. A page shows a file between a mark, ``<!-- file: PATH -->`` with the path below
the folder of its example, and the end of the block of code after it.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THIRD_PARTY, TESTING = ROOT / "examples" / "third_party", ROOT / "examples" / "testing"
PAGES = {
    ROOT / "docs" / "write-a-provider.md": THIRD_PARTY,
    ROOT / "docs" / "write-a-keystore.md": THIRD_PARTY,
    ROOT / "docs" / "testing.md": TESTING,
}
"""The pages, and the folder of the example that each shows."""

_SHOWN = re.compile(r"<!-- file: (\S+) -->\n\n```(\w+)\n.*?\n```\n", re.DOTALL)


def page(text: str, example: Path) -> str:
    """Make a page that shows ``example`` as it should be, from what it is."""
    return _SHOWN.sub(lambda match: _show(example / match[1], match[1], match[2]), text)


def shown_files(text: str) -> list[str]:
    """The paths of the files that a page shows."""
    return [match[1] for match in _SHOWN.finditer(text)]


def _show(file: Path, path: str, language: str) -> str:
    code = file.read_text("utf-8").rstrip()
    return f"<!-- file: {path} -->\n\n```{language}\n{code}\n```\n"


def main() -> None:
    """Write the pages."""
    for path, example in PAGES.items():
        path.write_text(page(path.read_text("utf-8"), example), "utf-8")


if __name__ == "__main__":
    main()
