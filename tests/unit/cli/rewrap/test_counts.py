"""How the work on rows ended, in numbers."""

from __future__ import annotations

from envelope_codec.cli.rewrap.counts import Counts, Failure
from envelope_codec.cli.rewrap.steps import Outcome


def test_failures_are_counted_by_reason_with_the_first_row() -> None:
    counts = Counts()
    counts.fail(b"1", "refused", "its words")
    counts.fail(b"2", "refused", "other words")
    counts.fail(b"3", "no answer")
    assert counts.failures == {"refused": Failure(2, b"1", "its words"), "no answer": Failure(1, b"3", "")}
    assert counts.failed == 3


def test_a_row_that_ends_well_gives_hope() -> None:
    counts = Counts()
    for number in range(99):
        counts.fail(b"%d" % number, "refused")
    counts.succeed(Outcome.added)
    for number in range(99):
        counts.fail(b"%d" % number, "refused")
        assert not counts.hopeless
    counts.fail(b"", "refused")
    assert counts.hopeless
