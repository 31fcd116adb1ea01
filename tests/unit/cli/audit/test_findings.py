"""The findings: the whole is the sum of all parts, and what is missing is said."""

from __future__ import annotations

from envelope_codec.cli.audit.need import KeyVersion
from envelope_codec.cli.audit.tally import Tally
from tests.support.audit_findings import findings, found
from tests.support.audited_payloads import record

OLD = record("OLD")


def test_the_whole_is_the_sum() -> None:
    parts = found("a", OLD), found("b", OLD), found("c", OLD)
    made = findings(*parts, others=found("d", OLD), stores={"files": found("e", OLD)})
    assert made.whole.needs[KeyVersion("OLD", "")].payloads == 5
    assert made.unfinished == []
    assert made.whole is made.whole, "it is merged once"


def test_what_is_missing_is_said() -> None:
    made = findings(Tally.of_unread("w", "why"), new=2)
    assert made.unfinished == ["2 workflows were still listed late after 3 comparisons", "1 could not be read"]


def test_that_there_was_nothing_to_read_is_said() -> None:
    """Whoever forgets to name the namespace audits an empty one. No key may go because of that."""
    [reason] = findings(stores={"files": found("e", OLD)}).unfinished
    assert reason.startswith("there was nothing to read")
    assert findings(Tally(gone=1)).unfinished == []
