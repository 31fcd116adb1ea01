"""Links from pages to files that are no pages: on the site they lead to the repository.

Links between pages stay as they are, relative, and work on a repository's host as on the site.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_FENCE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2[^\n]*$", re.DOTALL | re.MULTILINE)
# A link that is no picture, has no scheme, and is more than an anchor.
_LINK = re.compile(r"(?<!!)(?P<text>\[[^\]]*\]\()(?![a-z][a-z0-9+.-]*:|#)(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def to_repository(markdown: str, page: str, pages: Collection[str], repository: str) -> str:
    """Return a page whose links to files and folders that are no pages lead to ``REPOSITORY/blob/main/PATH``.

    Args:
        markdown: text of the page.
        page: its path from the repository's top without the ending, such as ``docs/adoption``.
        pages: all pages of the site, named like this one.
        repository: the repository's address.
    """

    def target(match: re.Match[str]) -> str:
        path = normpath(str(PurePosixPath(page).parent / match["path"]))
        if path.removesuffix(".md") in pages:
            return match[0]
        return f"{match['text']}{repository}/blob/main/{path}{match['anchor'] or ''})"

    # What is in a block of code is no link.
    done, result = 0, []
    for fence in _FENCE.finditer(markdown):
        result += [_LINK.sub(target, markdown[done : fence.start()]), fence[0]]
        done = fence.end()
    return "".join([*result, _LINK.sub(target, markdown[done:])])


def address(pyproject: str) -> str:
    """Return the repository's address, as ``pyproject.toml`` has it."""
    found = re.search(r'^Source = "(.+)"$', pyproject, re.MULTILINE)
    assert found is not None, "no Source in [project.urls]"
    return found[1]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    repository = address(Path(app.srcdir, "pyproject.toml").read_text("utf-8"))

    def read(app: Sphinx, page: str, source: list[str]) -> None:
        source[0] = to_repository(source[0], page, app.env.found_docs, repository)

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
