"""The verdict: "no history needs it" is said only where that is known."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.tally import OTHER_NAMES, Tally
from envelope_codec.cli.audit.verdict import State, Verdict, date_text, find_gaps, judge_key, unseen
from envelope_codec.envelope import Purpose
from tests.support.audit_findings import CLOSE, DAY, findings, found
from tests.support.audited_payloads import record

OLD, NEW = record("OLD"), record("NEW", created=2_000)


def verdict(of: Findings, key: str = "OLD", condition: str = "") -> Verdict:
    return judge_key(key, of, gaps=find_gaps(of, condition=condition))


def test_closed_workflows_need_it_until_their_retention_ends() -> None:
    made = verdict(
        findings(Tally.of([found("a", OLD, NEW, close=CLOSE, payloads=602), found("b", OLD, close=CLOSE - 9)]))
    )
    assert made.state is State.needed
    assert made.sentences == ("still needed by 603 payloads in 2 workflows until about 2023-12-14 (retention)",)
    assert made.until == CLOSE + 30 * DAY


def test_thousands_are_told_apart() -> None:
    assert (
        "by 1,204 payloads in 1 workflow "
        in verdict(findings(found("a", OLD, NEW, close=1, payloads=1_204))).sentences[0]
    )


def test_open_workflows_are_named() -> None:
    made = verdict(findings(found("c", OLD, NEW, close=CLOSE), found("o", OLD)))
    assert made.sentences[1] == "needed by open workflows: 1 payload in 1 workflow ('o')"
    assert made.until == 0, "nobody knows until when"


def test_what_else_needs_it_is_said() -> None:
    stores = {"files": found("", OLD)}
    of = findings(None, found("o", NEW), found("s", OLD), others=found("schedule", OLD), stores=stores)
    assert verdict(of).sentences == (
        "needed by 1 payload in schedules, standalone activities or operations ('schedule')",
        "needed by 1 payload in the datastore files",
        "needed by workflows that have started since: 1 payload in 1 workflow ('s')",
    )


def test_who_seals_is_needed() -> None:
    assert "it seals now: the newest record is under it" in verdict(findings(found("a", OLD, NEW)), "NEW").sentences


def test_other_ways_to_open_and_direct_mode_are_said() -> None:
    direct = record("OLD", purpose=Purpose.DATA_KEY)
    assert verdict(findings(found("a", record("OLD", "NEW"), direct, NEW, close=1))).sentences[1:] == (
        "1 payload of these name another master key as well",
        "1 payload of these are in direct mode: each has a key of its own under it",
    )


def test_what_nothing_needs_may_go() -> None:
    made = verdict(findings(found("a", NEW)))
    assert made.state is State.not_needed
    assert made.sentences == ("no history needs it: disable it, watch for a week, then delete",)


STORES: dict[str, Any] = {"stores": {"files": Tally()}}


@pytest.mark.parametrize(
    ("opened", "more"),
    [
        pytest.param(Tally(), {"new": 2}, id="late"),
        pytest.param(Tally.of_unread("w", "why"), {}, id="unread"),
        pytest.param(Tally(behind=Counter(ours=1)), {}, id="behind"),
        pytest.param(Tally(behind=Counter(others=1)), STORES, id="elsewhere"),
        pytest.param(Tally(kinds=Counter({"later-version": 1})), {}, id="later"),
        pytest.param(Tally(uncounted=1), {}, id="uncounted"),
        pytest.param(Tally(unreadable=Counter({"why": 1})), {}, id="malformed"),
        pytest.param(Tally(foreign=Counter({"binary/zlib": 1})), {}, id="of another codec"),
        pytest.param(Tally(foreign=Counter({"a": 1, "b": 1})), {"vouched": frozenset("a")}, id="of a codec not named"),
        pytest.param(Tally(behind=Counter(ours=1)), STORES, id="the datastores of somebody else"),
    ],
)
def test_with_a_gap_nothing_is_known_to_be_unneeded(opened: Tally, more: dict[str, Any]) -> None:
    of = findings(found("a", NEW), opened, **more)
    made = verdict(of)
    assert made.state is State.unknown
    assert len(made.sentences) == 2
    assert verdict(of, "NEW").state is State.needed


def test_a_query_is_a_gap() -> None:
    assert verdict(findings(found("a", NEW)), condition="x = 1").state is State.unknown


def test_references_into_datastores_that_were_read_are_no_gap() -> None:
    stored = Tally(kinds=Counter(envelope=1))
    of = findings(found("a", NEW), Tally(behind=Counter(ours=1)), stores={"files": stored, "empty": Tally()})
    assert find_gaps(of, condition="") == []


def test_what_a_user_vouches_for_is_no_gap() -> None:
    of = findings(found("a", NEW), Tally(foreign=Counter({"binary/zlib": 7})), vouched=frozenset({"binary/zlib"}))
    assert verdict(of).state is State.not_needed


def test_nobody_vouches_for_encodings_beyond_those_that_are_counted() -> None:
    of = findings(found("a", NEW), Tally(foreign=Counter({OTHER_NAMES: 7})), vouched=frozenset({OTHER_NAMES}))
    assert verdict(of).state is State.unknown
    assert "more other codecs than are counted" in verdict(of).sentences[1]


def test_each_gap_says_how_much_and_what_to_do() -> None:
    """A payload of a later version counts once."""
    opened = Tally(
        foreign=Counter({"binary/zlib": 7}),
        unreadable=Counter({"why": 1, "later": 2}),
        kinds=Counter({"later-version": 2}),
        sources=1,
    )
    assert find_gaps(findings(None, opened), condition="") == [
        "2 envelopes of a later version can't be read by this release",
        "1 payload can't be read, and may be under any key",
        "7 payloads of another codec (binary/zlib) may hold an envelope: if none does, say --foreign binary/zlib",
    ]


def test_an_archive_is_mentioned_where_a_key_may_go() -> None:
    made = verdict(findings(found("a", NEW), archived=True))
    assert made.state is State.not_needed
    assert "archive" in made.sentences[1]


def test_what_can_t_be_seen_is_said() -> None:
    assert "archived histories" in unseen(findings())
    assert unseen(findings(archived=True))[0] == "archived histories (the namespace has an archive)"


def test_a_day_that_no_calendar_has() -> None:
    assert date_text(2.0**64) == "18446744073709551616 s after 1970"
