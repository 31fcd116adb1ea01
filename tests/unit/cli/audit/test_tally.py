"""The tally: what is needed of each key adds up, in whatever order parts are merged."""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations

import pytest

from envelope_codec.cli.audit import tally as tally_module
from envelope_codec.cli.audit.need import EXAMPLES, MAX_DAYS, OTHER_DAYS, KeyVersion
from envelope_codec.cli.audit.tally import (
    MAX_KEYS,
    MAX_NAMES,
    Tally,
    count_name,
    from_document,
    to_document,
)
from envelope_codec.envelope import Purpose, Recipient, build_record, record_head
from tests.support.audited_payloads import record

OLD = KeyVersion("OLD", "")


def source(name: str, *records: tuple[object, int], close: float = 0.0) -> Tally:
    tally = Tally()
    for its, payloads in records:
        tally.add_record(its, payloads)  # type: ignore[arg-type]
    tally.end_source(name, close)
    return tally


def parts() -> list[Tally]:
    one = source("a", (record("OLD", created=5), 2), (record("OLD", "NEW", created=9), 1), close=7.5)
    two = source("b", (record("OLD", created=5), 1), (record("NEW", created=20, purpose=Purpose.DATA_KEY), 4))
    three = source("c")
    three.clear["json/plain"], three.failures, three.gone = 2, 1, 1
    three.note_clear("z")
    three.note_clear("y")
    three.merge(Tally.of_unread("workflow 'u'", "why"))
    three.behind["ours"] = 3
    for place in ("q", "p", "r"):
        three.note_place("binary/zlib", place)
    two.note_place("binary/zlib", "s")
    return [one, two, three]


def test_counts_add_up() -> None:
    whole = Tally.of(parts())
    need = whole.needs[OLD]
    assert (need.payloads, need.sole, need.runs, len(need.ids)) == (4, 3, 2, 2)
    assert (need.oldest, need.newest, need.last_close, need.examples) == (5, 9, 7.5, ["a", "b"])
    new = whole.needs[KeyVersion("NEW", "")]
    assert (new.payloads, len(new.ids)) == (5, 1), "in direct mode there is no wrapping key"
    assert new.purposes == {"wrapping key": 1, "direct": 4}
    assert (whole.sources, whole.gone, whole.failures, whole.first_clear) == (3, 1, 1, "y")
    assert whole.places == {"binary/zlib": "p"}
    assert (whole.clear, whole.behind, whole.unread) == ({"json/plain": 2}, {"ours": 3}, {"workflow 'u'": "why"})


def test_the_order_does_not_matter() -> None:
    assert len({json.dumps(to_document(Tally.of(order)), sort_keys=True) for order in orders()}) == 1


def orders() -> list[list[Tally]]:
    def in_order(numbers: tuple[int, ...]) -> list[Tally]:
        tallies = parts()
        return [tallies[number] for number in numbers]

    found = [in_order(numbers) for numbers in permutations(range(3))]
    # A document has needs in the order in which keys were met, so each order must meet them in the same.
    return [[source_of_all_keys(), *one] for one in found]


def source_of_all_keys() -> Tally:
    return source("all", (record("NEW", created=1), 1), (record("OLD", created=1), 1))


def test_the_newest_record_of_a_context_says_who_seals() -> None:
    tally = Tally.of(parts())
    assert tally.seals("NEW")
    assert not tally.seals("OLD")
    tally.add_record(record("OLD", "THIRD", created=30))
    assert [tally.seals(key) for key in ("NEW", "OLD", "THIRD")] == [False, True, True]


def test_of_records_of_one_second_all_may_seal() -> None:
    for order in (("OLD", "NEW"), ("NEW", "OLD")):
        tally = Tally.of(source("a", (record(key), 1)) for key in order)
        assert (tally.seals("OLD"), tally.seals("NEW")) == (True, True)


def test_versions_are_told_apart() -> None:
    tally = source("a", (record("OLD", version="1"), 1), (record("OLD", version="2", created=2_000), 2))
    assert {key.version: need.payloads for key, need in tally.needs.items()} == {"1": 1, "2": 2}


def test_a_few_workflows_are_named_and_always_the_same() -> None:
    names = [f"w{number}" for number in range(10)]
    for order in (names, names[::-1]):
        whole = Tally.of(source(name, (record("OLD"), 1)) for name in order)
        assert whole.needs[OLD].examples == names[:EXAMPLES]


def test_a_tally_survives_json() -> None:
    whole = Tally.of(parts())
    assert from_document(json.loads(json.dumps(to_document(whole)))) == whole
    again = from_document(json.loads(json.dumps(to_document(whole))))
    again.merge(whole)
    assert again.needs[OLD].payloads == 8


@pytest.mark.parametrize("document", [{}, {"needs": []}, {"needs": 1, "sealers": []}, {"other": 1}])
def test_something_else_is_no_tally(document: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_document(document)


def test_made_up_keys_contexts_and_encodings_do_not_pile_up() -> None:
    """Anybody who can write to Temporal can write any number of them."""
    whole = Tally()
    for number in range(MAX_KEYS + 5):
        whole.merge(source("w", (record(f"KEY-{number}"), 2)))
    for number in range(MAX_NAMES + 5):
        count_name(whole.foreign, f"binary/{number}")
        whole.merge(Tally.of_unread(f"w{number}", "why"))
    assert (len(whole.needs), whole.uncounted) == (MAX_KEYS, 10)
    assert (len(whole.foreign), whole.foreign["others"]) == (MAX_NAMES + 1, 5)
    assert (len(whole.unread), whole.missed) == (MAX_NAMES, MAX_NAMES + 5)
    assert from_document(json.loads(json.dumps(to_document(whole)))) == whole


def test_payloads_are_counted_by_the_day_of_their_key() -> None:
    tally = source("a", (record("OLD", created=86_399), 2), (record("OLD", created=86_400), 3))
    tally.merge(source("b", (record("OLD", created=86_400 * 2 - 1), 1)))
    assert tally.needs[OLD].days == {0: 2, 1: 4}
    assert from_document(json.loads(json.dumps(to_document(tally)))).needs[OLD].days == {0: 2, 1: 4}


def test_made_up_days_do_not_pile_up() -> None:
    whole = Tally()
    for day in range(MAX_DAYS + 5):
        whole.merge(source("w", (record("OLD", created=86_400 * day), 2)))
    days = whole.needs[OLD].days
    assert (len(days), days[OTHER_DAYS]) == (MAX_DAYS + 1, 10)
    assert sum(days.values()) == whole.needs[OLD].payloads


def test_there_is_a_bound_to_places() -> None:
    tally = Tally()
    for number in range(MAX_NAMES + 1):
        tally.note_place(f"encoding {number}", "b")
    tally.note_place("encoding 0", "a")
    assert len(tally.places) == MAX_NAMES
    assert tally.places["encoding 0"] == "a"


def test_what_a_part_could_not_count_is_not_forgotten() -> None:
    """Or a key that was one too many would pass for one that nothing needs."""
    whole = Tally(uncounted=2, missed=1, gone=3)
    whole.merge(Tally(uncounted=3, missed=4, gone=5))
    assert (whole.uncounted, whole.missed, whole.gone) == (5, 5, 8)


@pytest.mark.parametrize("name", ["kinds", "clear", "foreign", "unreadable", "behind"])
def test_every_counter_is_merged_and_kept(name: str) -> None:
    whole, part = Tally(), Tally()
    getattr(part, name)["x"] = 2
    whole.merge(part)
    kept = from_document(json.loads(json.dumps(to_document(whole))))
    kept.merge(part)
    kept.merge(Tally(**{name: Counter(y=1)}))  # type: ignore[arg-type]
    assert getattr(kept, name) == {"x": 4, "y": 1}


def test_there_is_a_bound_to_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "MAX_CONTEXTS", 1)
    tally = Tally()
    for namespace, key in (("a", "OLD"), ("b", "NEW"), ("a", "THIRD")):
        head = record_head(Purpose.WRAPPING_KEY, len(tally.needs), {"temporal-namespace": namespace})
        tally.add_record(build_record(head, bytes(32), [Recipient(key, "", b"c")]))
    assert len(tally.sealers) == 1
    assert tally.seals("THIRD")
    assert len(tally.needs) == 3, "what is needed is counted all the same"


def test_a_key_too_many_is_told_where_it_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "MAX_KEYS", 1)
    tally = Tally()
    tally.add_record(record("OLD"), 2)
    tally.add_record(record("NEW"), 3)
    tally.add_record(record("OLD"), 4)
    assert {key.key_id: need.payloads for key, need in tally.needs.items()} == {"OLD": 6}
    assert tally.uncounted == 3
