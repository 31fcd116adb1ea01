"""What is needed of one key: sums, bounds, and names that do not depend on the order of counting."""

from __future__ import annotations

import pytest

from envelope_codec.cli.audit import need
from envelope_codec.cli.audit.need import EXAMPLES, OTHER_DAYS, Need
from envelope_codec.envelope import Purpose
from tests.support.audited_payloads import record

DAY = 86_400


def test_payloads_are_added_up() -> None:
    made = Need()
    made.add(record("OLD", created=3 * DAY + 5), 2)
    made.add(record("OLD", "NEW", created=2 * DAY), 3)
    made.add(record("OLD", created=4 * DAY, purpose=Purpose.DATA_KEY), 4)
    made.add(record("OLD", created=4 * DAY, purpose=Purpose.SHARED_WRAPPING_KEY), 5)
    assert (made.payloads, made.sole) == (14, 11)
    assert made.purposes == {"wrapping key": 5, "direct": 4, "shared": 5}
    assert len(made.ids) == 3, "a data key is no wrapping key"
    assert (made.oldest, made.newest) == (2 * DAY, 4 * DAY)
    assert made.days == {3: 2, 2: 3, 4: 9}


def test_a_day_ends_at_midnight() -> None:
    made = Need()
    for created in (DAY - 1, DAY, 2 * DAY - 1):
        made.add(record("OLD", created=created), 1)
    assert made.days == {0: 1, 1: 2}


def test_parts_are_merged() -> None:
    one, two = Need(runs=2, last_close=5.0, examples=["c", "b"]), Need(runs=3, last_close=7.0, examples=["a", "d"])
    one.add(record("OLD", created=3), 1)
    two.add(record("OLD", created=3), 2)
    two.add(record("OLD", created=9), 4)
    one.merge(two)
    assert (one.payloads, one.sole, one.runs, one.last_close) == (7, 7, 5, 7.0)
    assert (one.oldest, one.newest, len(one.ids), one.days) == (3, 9, 2, {0: 7})
    assert one.examples == ["a", "b", "c"]
    assert len(one.examples) == EXAMPLES


def test_what_nothing_was_added_to_changes_nothing() -> None:
    made = Need()
    made.add(record("OLD", created=3), 1)
    made.merge(Need())
    assert (made.oldest, made.newest, made.payloads) == (3, 3, 1)
    empty = Need()
    empty.merge(made)
    assert (empty.oldest, empty.newest, empty.payloads) == (3, 3, 1)


def test_there_is_a_bound_to_days_and_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can write to Temporal can make up any number of records. No payload is lost from the count."""
    monkeypatch.setattr(need, "MAX_DAYS", 2)
    monkeypatch.setattr(need, "MAX_IDS", 2)
    made = Need()
    for day in range(4):
        made.add(record("OLD", created=day * DAY), 1)
    made.add(record("OLD", created=0), 1)
    assert made.days == {0: 2, 1: 1, OTHER_DAYS: 2}
    assert (made.payloads, len(made.ids)) == (5, 2)
