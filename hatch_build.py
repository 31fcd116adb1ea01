"""The hook that makes the README into the long description of the package: links and pictures become absolute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# The target of a link or a picture that is a path of this repository: it has no scheme, and more than an anchor.
_RELATIVE = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\]\()(?![a-z][a-z0-9+.-]*:|#)(?P<path>[^)\s]+)")


class LongDescription(MetadataHookInterface):
    """The README as a page of a package index shows it, far from the files that it refers to.

    The repository's address is ``[project.urls] Source``, and nowhere else.
    """

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field ``readme``."""
        text = Path(self.root, "README.md").read_text("utf-8")
        page = absolute(text, metadata["urls"]["Source"], f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": page}


def absolute(markdown: str, repository: str, tag: str) -> str:
    """Make links and pictures lead to the files as they were at a tag.

    ``REPOSITORY/blob/TAG/PATH`` is a file's page and ``REPOSITORY/raw/TAG/PATH`` its bytes, at GitHub and GitLab alike.
    """

    def target(match: re.Match[str]) -> str:
        view = "raw" if match["picture"] else "blob"
        return f"{match['picture']}{match['text']}{repository}/{view}/{tag}/{match['path']}"

    return _RELATIVE.sub(target, markdown)
