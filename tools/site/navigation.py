"""The site's navigation, which is the order of the links on its first page.

``docs/index.md`` has a section for each stage of a reader's way, and in each section a list of pages. That is what a
repository's host shows. On the site each such list is the navigation as well, under the section's heading.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FIRST_PAGE = "docs/index"

_SECTION = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<page>[^)#]+)\.md\)", re.MULTILINE)


def with_navigation(text: str) -> str:
    """Return the first page, in Markdown, with a hidden table of contents for each of its sections."""
    starts = list(_SECTION.finditer(text))
    tables = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        section = text[start.end() : following.start() if following else len(text)]
        entries = {_name(entry["page"]): entry["title"] for entry in _ENTRY.finditer(section)}
        lines = [f"{title} </{page}>" for page, title in entries.items()]
        if lines:
            tables.append("\n".join(["```{toctree}", ":hidden:", f":caption: {start['title']}", "", *lines, "```", ""]))
    assert tables, "the first page names no pages"
    return "\n".join([text, *tables])


def _name(target: str) -> str:
    """The name of a page from its path beside the first page: ``../SPEC`` is ``SPEC``."""
    return target.removeprefix("../") if target.startswith("../") else f"docs/{target}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""

    def read(app: Sphinx, page: str, source: list[str]) -> None:
        if page == FIRST_PAGE:
            source[0] = with_navigation(source[0])

    reader: Callable[..., None] = read
    app.connect("source-read", reader)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
