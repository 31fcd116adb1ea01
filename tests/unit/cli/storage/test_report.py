"""What the commands about datastores print."""

from __future__ import annotations

import pytest

from envelope_codec.cli.output import Page
from envelope_codec.cli.storage.report import (
    Check,
    Stats,
    gc_document,
    print_checks,
    print_gc,
    print_stats,
    stats_document,
)
from envelope_codec.cli.storage.search_result import SearchResult
from envelope_codec.store import Stored

ORPHANS = [Stored("0" * 32, 1_700_000_000.5, 2_048), Stored("1" * 32, 1_700_000_001.0, 3 * 2**20)]


def found(**more: int) -> SearchResult:
    return SearchResult(listed=5, referenced=3, read=1, orphans=ORPHANS, **more)


def test_what_was_found_is_listed_and_nothing_is_said_to_be_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    print_gc("mine", ["a", "b"], 1_700_000_100.0, found(foreign=4), Page(), deleting=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Payloads in mine, put before 2023-11-14T22:15:00Z",
        "  old enough          5",
        "  referred to         3",
        "  read                1 workflow, schedule or standalone activity of a, b",
        "  left                4 that were sealed for other namespaces",
        "  orphans             2, 3.0 MiB",
        f"  {'0' * 32}  2023-11-14T22:13:20Z  2.0 KiB",
        f"  {'1' * 32}  2023-11-14T22:13:21Z  3.0 MiB",
        "  Nothing was deleted: --delete does that.",
    ]


def test_what_was_deleted_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_gc("mine", ["a"], 0.0, found(unknown=1, deleted=2), Page(), deleting=True)
    printed = capsys.readouterr().out
    assert "  left                1 that are no envelopes\n" in printed
    assert printed.endswith("  deleted             2\n")


def test_programs_read_the_same() -> None:
    document = gc_document("mine", ["a"], 7.0, found(foreign=4, unknown=1, deleted=2), deleting=True)
    assert document == {
        "format": "envelope-codec/storage-gc-1",
        "store": "mine",
        "namespaces": ["a"],
        "before": 7.0,
        "deleting": True,
        "payloads": 5,
        "referenced": 3,
        "read": 1,
        "other_namespaces": 4,
        "no_envelopes": 1,
        "orphans": [{"id": one.id, "created": one.created, "bytes": one.size} for one in ORPHANS],
        "deleted": 2,
        "price_per_gb_month": None,
        "cost_per_month": None,
    }


@pytest.mark.parametrize(
    ("price", "said"),
    [(0.0, "0.00"), (0.023, "less than 0.01"), (1_000_000.0, "2,931.59")],
)
def test_what_orphans_cost_is_told_where_the_price_is_known(
    price: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_gc("mine", ["a"], 0.0, found(), Page(), deleting=True, price=price)
    assert f"  cost                {said} a month, at {price:g} for each GB\n" in capsys.readouterr().out
    document = gc_document("mine", ["a"], 0.0, found(), deleting=True, price=price)
    assert document["price_per_gb_month"] == price
    assert document["cost_per_month"] == pytest.approx((2_048 + 3 * 2**20) / 2**30 * price)


def test_stats_count_payloads(capsys: pytest.CaptureFixture[str]) -> None:
    stats, empty = Stats("mine"), Stats("empty")
    for stored in reversed(ORPHANS):
        stats.add(stored)
    print_stats([stats, empty], Page())
    assert capsys.readouterr().out == (
        "mine\n  payloads            2\n  bytes               3.0 MiB\n  oldest              2023-11-14T22:13:20Z\n\n"
        "empty\n  payloads            0\n  bytes               0 B\n  oldest              -\n"
    )
    assert stats_document([empty])["stores"] == [{"name": "empty", "payloads": 0, "bytes": 0, "oldest": None}]


def test_checks_tell_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_checks([Check("good"), Check("bad", "no table", "make one", failed=True)], Page())
    assert capsys.readouterr().out == (
        "good                can be used\nbad                 no table\n                    To do: make one\n"
    )
