"""The report as a page: what others have chosen is text in it, and it fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from envelope_codec.cli.audit.report import Report
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.web_page import render
from tests.support.audit_findings import CLOSE, findings, found
from tests.support.audited_payloads import record

HOSTILE = "<script src=//evil.example>'\"&\x00\u202e]]></style><img src=x onerror=alert(1)>"
NOW = int(CLOSE)


class Reader(HTMLParser):
    """Reads a page as a browser does."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile() -> Report:
    unread = Tally.of_unread(f"workflow {HOSTILE!r}", HOSTILE)
    unread.foreign[HOSTILE] = unread.clear[HOSTILE] = unread.unreadable[HOSTILE] = 1
    unread.note_clear(HOSTILE)
    closed = found(HOSTILE, record(HOSTILE, version=HOSTILE, created=NOW), record("NEW", created=NOW))
    of = findings(closed, unread, others=closed, stores={HOSTILE: closed})
    return Report(of, HOSTILE, HOSTILE, HOSTILE, asked=(HOSTILE + "2",))


def test_what_others_have_chosen_is_text() -> None:
    page = Reader(render(hostile()))
    assert not page.tags & {"script", "img", "link", "iframe", "object", "embed", "a", "form", "base", "use", "image"}
    assert not {name for name in page.attributes if name.startswith("on") or name in ("src", "href", "style")}
    assert page.text.count("<script src=//evil.example>") >= 10
    assert "\u202e" not in page.text, "nothing in it reorders other text"
    assert "\x00" not in page.text


def test_nothing_is_fetched() -> None:
    page = render(hostile())
    assert not re.search(r"@import|url\(", page)
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[0]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    style = re.findall("<style>(.*?)</style>", page, re.DOTALL)[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "prefers-color-scheme: dark" in style


def test_it_says_what_the_report_says() -> None:
    old = record("OLD", created=NOW - 10 * 86_400)
    of = findings(found("a", old, close=CLOSE, payloads=1_204), found("b", record("NEW", created=NOW)))
    shown = Reader(render(Report(of, "server:7233", "billing", asked=("GONE",)))).text
    for said in (
        "Master keys that namespace billing needs",
        "still needed by 1,204 payloads in 1 workflow until about 2023-12-14 (retention)",
        "needed by open workflows: 1 payload in 1 workflow ('b')",
        "2023-11-04: 1,204",
        "2023-11-14: 1",
        "no history needs it: disable it, watch for a week, then delete",
        "Complete",
        "backups of the server's database",
    ):
        assert said in shown


def test_it_says_that_it_is_incomplete() -> None:
    shown = Reader(render(hostile())).text
    assert "Incomplete" in shown
    assert "1 could not be read" in shown


def test_a_namespace_without_keys_has_a_page() -> None:
    assert "No payload names any" in render(Report(findings(), "a:1", "default"))


@pytest.mark.parametrize("created", [0, 2**63])
def test_times_that_are_made_up_are_no_error(created: int) -> None:
    assert "are of other days" in render(Report(findings(found("a", record(created=created))), "a:1", "default"))
