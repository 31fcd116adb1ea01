"""The findings on the keystore, from what is known of it."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.finding import Code, Level
from envelope_codec.cli.doctor.keystore import KeystoreProbe
from envelope_codec.cli.doctor.keystore_findings import keystore_findings
from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.keystore import KeystoreUrl

URL = KeystoreUrl("postgresql://user:secret@db.test/keys")
FINE = Answer(0.1)
REFUSED = Answer(0.1, StoreRefused("permission on the table or the database is missing"), "words of the driver")


def probe(**known: Any) -> KeystoreProbe:
    return KeystoreProbe(URL, **{"writes": True, "use": FINE, "listing": FINE, **known})


def test_a_keystore_that_works_is_no_finding() -> None:
    assert list(keystore_findings(probe(rows=3, own=3))) == []
    assert list(keystore_findings(None)) == []


@pytest.mark.parametrize(
    ("known", "code", "level", "fix"),
    [
        ({"defect": "it can't be opened"}, Code.keystore_unusable, Level.problem, "correct the setting"),
        (
            {"defect": "postgresql needs a missing package: pip install x"},
            Code.keystore_unusable,
            Level.problem,
            "pip install x",
        ),
        ({"use": None}, Code.no_answer_in_time, Level.problem, "--timeout"),
        ({"use": REFUSED}, Code.keystore_refused, Level.problem, "grant SELECT and INSERT on"),
        ({"use": REFUSED, "writes": False}, Code.keystore_refused, Level.problem, "grant SELECT on"),
        ({"use": Answer(1, StoreUnavailable("x"))}, Code.keystore_unavailable, Level.problem, "check that it runs"),
        ({"listing": None}, Code.no_answer_in_time, Level.problem, "--timeout"),
        ({"listing": REFUSED}, Code.keystore_rows_unread, Level.advice, "need not list rows"),
        ({"rows": 3, "malformed": 1, "own": 2}, Code.keystore_rows_malformed, Level.problem, "restore those rows"),
        ({"rows": 3}, Code.keystore_of_others, Level.advice, "of this fleet"),
    ],
)
def test_each_fault_is_one_finding(known: dict[str, Any], code: Code, level: Level, fix: str) -> None:
    [finding] = keystore_findings(probe(**known))
    assert (finding.code, finding.level, finding.subject) == (code, level, "keystore")
    assert fix in finding.fix
    assert "secret" not in repr(finding)
