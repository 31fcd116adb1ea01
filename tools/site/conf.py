"""Settings of Sphinx for the documentation site. The folder that it reads is the repository's own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "providers")]

_VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "envelope_codec/__init__.py").read_text("utf-8"), re.MULTILINE)
assert _VERSION is not None

project = "temporal-envelope-codec"
copyright = "the contributors"
version = release = _VERSION[1]
html_title = project

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "tools.site.navigation",
    "tools.site.public_api",
    "tools.site.repository_links",
]

# Pages: those at the top, those in docs/, and the description of the test vectors. Nothing else is looked at.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "tests/vectors/README.md"]
exclude_patterns = [
    ".*",
    "benchmarks",
    "build",
    "deploy",
    "dist",
    "envelope_codec",
    "examples",
    "localstack",
    "providers",
    "requirements",
    "tests/[!v]*",
    "tools",
]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 6  # anchors as repository hosts make them
myst_enable_extensions: list[str] = []
suppress_warnings = [
    "misc.highlighting_failure",  # JSON with an ellipsis in it is still JSON to a reader
]
smartquotes = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/favicon.svg"
html_extra_path = ["top"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
pygments_style = "default"
pygments_dark_style = "github-dark"
