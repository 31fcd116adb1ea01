"""Ask whether the pages' links to other hosts lead somewhere: ``python -m tools.links``.

Needs a network. Where there is none it says so and ends with status 0: that says nothing of any link. It is no part of
the tests, which depend on no other host.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["*.md", "docs/*.md", "tests/vectors/*.md"]

_AT_ONCE = 8
_SECONDS = 20.0
_FENCE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((https?://[^)\s]+)\)")
_EXAMPLE = re.compile(r"https?://([^/]+\.)?(example\.(com|org|net)|localhost|127\.0\.0\.1)([:/]|$)")
# What hosts answer that want no programs as readers. The page is there.
_NOT_FOR_PROGRAMS = (401, 403, 405, 429)


def outward(pages: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the links to other hosts, each with the pages that have it. Hosts of examples are left out.

    Args:
        pages: Markdown by the pages' names.
    """
    found: dict[str, list[str]] = {}
    for name, text in pages.items():
        for link in _LINK.findall(_FENCE.sub("", text)):
            if not _EXAMPLE.match(link):
                found.setdefault(link.partition("#")[0], []).append(name)
    return found


def wrong_with(link: str) -> str:
    """Say what is wrong with a link: a status, ``unreachable``, or nothing."""
    # A link comes from our own pages, and begins with http or https.
    request = urllib.request.Request(link, headers={"User-Agent": "temporal-envelope-codec documentation"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in _NOT_FOR_PROGRAMS else str(error.code)
    except OSError:
        return "unreachable"


def report(links: Mapping[str, Iterable[str]], wrong: Mapping[str, str]) -> tuple[list[str], int]:
    """Return the lines to print, and the exit status.

    Args:
        links: the pages that have each link.
        wrong: what `wrong_with` says of each.
    """
    if links and all(wrong[link] == "unreachable" for link in links):
        return [f"no network: none of {len(links)} links was checked"], 0
    lines = [f"{wrong[link]}: {link} ({', '.join(sorted(set(pages)))})" for link, pages in links.items() if wrong[link]]
    return [*lines, f"{len(links)} links, {len(lines)} lead nowhere"], 1 if lines else 0


def main() -> int:
    """Check all pages. Returns the exit status."""
    files = [file for pattern in PAGES for file in sorted(ROOT.glob(pattern))]
    links = outward({file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in files})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        wrong = dict(zip(links, pool.map(wrong_with, links), strict=True))
    lines, status = report(links, wrong)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
