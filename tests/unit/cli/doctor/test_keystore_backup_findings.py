"""What is said of a backup of which little is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec.cli.doctor.finding import Code, Level
from envelope_codec.cli.doctor.keystore import KeystoreProbe
from envelope_codec.cli.doctor.keystore_backup import BackupProbe
from envelope_codec.cli.doctor.keystore_backup_findings import backup_findings
from envelope_codec.testing import FakeKeystore

FILE = Path("backup.jsonl")


@pytest.mark.parametrize(
    ("backup", "whole", "said"),
    [
        (BackupProbe(FILE, sampled=True, tried=1, opened=1), True, "not read to its end in time"),
        (BackupProbe(FILE, rows=5, sampled=True, tried=1, opened=1), False, "none was looked for in it"),
        (BackupProbe(FILE, rows=5, compared=7, sampled=True, tried=1, opened=1), False, "the first 7 rows"),
        (BackupProbe(FILE, rows=5, compared=5), True, "opened in time"),
        (BackupProbe(FILE, rows=5, compared=5, sampled=True), True, "none of its rows is of a namespace"),
    ],
)
def test_what_was_not_proved_is_advice(backup: BackupProbe, whole: bool, said: str) -> None:
    (finding,) = backup_findings(backup, KeystoreProbe(FakeKeystore(), True, whole=whole))
    assert (finding.code, finding.level) == (Code.keystore_backup_unproved, Level.advice)
    assert said in finding.text


def test_a_backup_of_an_empty_keystore_is_whole() -> None:
    backup = BackupProbe(FILE, rows=0, sampled=True)
    assert list(backup_findings(backup, KeystoreProbe(FakeKeystore(), True, whole=True))) == []
