"""The API reference: the docstrings of what ``docs/public-api.md`` lists, and of nothing else."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from types import ModuleType

    from sphinx.application import Sphinx

PAGE = "docs/api"

_HERE = re.compile(r"^The documentation site .*?```text\nmake site\n```\n", re.DOTALL | re.MULTILINE)
"""What the page has in the reference's place."""
_ROW = re.compile(r"^\| `(envelope_codec[\w.]*)` \| (.+) \|$", re.MULTILINE)


class Public(NamedTuple):
    """A module, and what of it is public."""

    module: str
    names: list[str]


def public_names(module: ModuleType, told: str) -> list[str]:
    """Return the public names of a module.

    Args:
        module: the module itself.
        told: its cell in the page's table: names, or words such as "every name in `__all__`".
    """
    names = [name for name in re.findall(r"`(\w+)`", told.partition(":")[0]) if name != "__all__"]
    if "`__all__`" in told:
        return list(module.__all__)
    if told.startswith("every class"):
        return [name for name, value in vars(module).items() if _own(module, value) and inspect.isclass(value)]
    if told.startswith("every name without an underscore but"):
        own = [name for name, value in vars(module).items() if _own(module, value)]
        return [name for name in own if not name.startswith("_") and name not in names]
    return names


def _own(module: ModuleType, value: object) -> bool:
    return getattr(value, "__module__", None) == module.__name__


def public_api(page: str) -> list[Public]:
    """Return all that is public, in the order of the page's table. A name is listed where it is first told."""
    seen: set[int] = set()
    found = []
    for name, told in _ROW.findall(page):
        module = import_module(name)
        names = []
        for public in public_names(module, told):
            value = getattr(module, public)
            if id(value) not in seen or not callable(value):
                names.append(public)
            seen.add(id(value))
        if names:
            found.append(Public(name, names))
    return found


def documented(public: Public) -> str:
    """Return a section in Markdown that has Sphinx document a module's public names."""
    module = import_module(public.module)
    lines = []
    for name in public.names:
        value = getattr(module, name)
        path = f"{public.module}.{name}"
        if inspect.isclass(value):
            lines += [f".. autoclass:: {path}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: {path}", ""]
        else:
            lines += [f".. autodata:: {path}", ""]
    return "\n".join([f"## `{public.module}`", "", "```{eval-rst}", *lines, "```", ""])


def with_reference(text: str, page: str) -> str:
    """Return the page of the reference with what it is to hold.

    Args:
        text: the page, in Markdown, as the repository has it.
        page: text of the page that lists what is public.
    """
    here = _HERE.search(text)
    assert here, "the page says nowhere that `make site` fills it"
    reference = "\n".join(documented(public) for public in public_api(page))
    return text[: here.start()] + reference + text[here.end() :]


def defined_below(path: str) -> list[str]:
    """Return what a value's own module says of it, where a package only passes it on. Sphinx would show its type's."""
    from sphinx.pycode import ModuleAnalyzer

    package, _, name = path.rpartition(".")
    for module in sorted(module for module in sys.modules if module.startswith(f"{package}.")):
        told = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
        if told:
            return list(told)
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""

    def read(app: Sphinx, page: str, source: list[str]) -> None:
        if page == PAGE:
            source[0] = with_reference(source[0], Path(app.srcdir, "docs/public-api.md").read_text("utf-8"))

    def keep_sentences(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
        # Napoleon takes what is before a colon in an attribute's first line for its type. After a comment it does not.
        if what == "data" and lines[:1] == (type(value).__doc__ or "").splitlines()[:1]:
            lines[:] = defined_below(name)
        if what in ("attribute", "data", "property"):
            lines[:0] = ["..", ""]

    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
