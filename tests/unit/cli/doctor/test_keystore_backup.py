"""A backup of the keystore, as the doctor examines it: would a restore serve?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.cli.doctor.finding import Code, Level
from envelope_codec.cli.doctor.keystore import KeystoreProbe, probe_keystore
from envelope_codec.cli.doctor.keystore_findings import keystore_findings
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keystore_file import new_row_file
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.keystore import Kept
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import KeystoreRow
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.keyring_on_fakes import wrapped_by

SECONDS = 60.0


def rows_by(kms: FakeKms, count: int) -> list[KeystoreRow]:
    return [publish(wrapped_by(kms)[0]) for _ in range(count)]


def keystore_of(rows: list[KeystoreRow]) -> FakeKeystore:
    keystore = FakeKeystore()
    keystore.kept |= {row.key: (row.serialize(), "1") for row in rows}
    return keystore


def backup_of(folder: Path, rows: list[KeystoreRow]) -> Path:
    path = folder / "backup.jsonl"
    with new_row_file(path) as written:
        for row in sorted(rows, key=lambda row: row.key):
            written.add(Kept(row.key, row.serialize(), "1"))
    return path


async def examine(keystore: Any, backup: Path, key: Any, **more: Any) -> KeystoreProbe:
    config = EnvelopeConfig(key=key, keystore=keystore, **more)
    with quiet_logs() as words:
        deadline = Deadline(SECONDS)
        probe = await probe_keystore(config, deadline, Calls(), words, namespaces=("default",), backup=backup)
    assert probe is not None
    return probe


def codes(probe: KeystoreProbe) -> list[tuple[Code, Level]]:
    return [(finding.code, finding.level) for finding in keystore_findings(probe)]


async def test_a_backup_that_has_all_rows_and_opens_is_no_finding(tmp_path: Path) -> None:
    kms = FakeKms("fakekms://k")
    rows = rows_by(kms, 40)
    probe = await examine(keystore_of(rows), backup_of(tmp_path, rows), kms)
    assert codes(probe) == []
    backup = probe.backup
    assert backup is not None
    assert (backup.rows, backup.compared, backup.lacking) == (40, 40, 0)
    assert backup.opened == backup.tried == 2  # all were wrapped alike
    assert kms.unwraps == 2


async def test_rows_that_came_later_and_recipients_that_were_added_later_are_lacking(tmp_path: Path) -> None:
    kms, new = FakeKms("fakekms://k"), FakeKms("fakekms://new")
    rows = rows_by(kms, 4)
    path = backup_of(tmp_path, rows[:3])
    rewrapped = KeystoreRow(
        *(rows[0].head, rows[0].id, rows[0].purpose, rows[0].created, rows[0].context),
        (*rows[0].verified, *publish(wrapped_by(new)[0]).verified),
    )
    probe = await examine(keystore_of([rewrapped, *rows[1:]]), path, kms)
    assert codes(probe) == [(Code.keystore_backup_lacks_rows, Level.problem)]
    assert probe.backup is not None
    assert (probe.backup.compared, probe.backup.lacking) == (4, 2)


@pytest.mark.parametrize("fault", ["gone", "denies"])
async def test_a_backup_that_no_configured_master_key_opens_would_not_serve(fault: str, tmp_path: Path) -> None:
    kms = FakeKms("fakekms://k")
    rows = rows_by(kms, 3)
    path = backup_of(tmp_path, rows)
    if fault == "denies":
        kms.denied = True
    key = kms if fault == "denies" else FakeKms("fakekms://another")
    probe = await examine(keystore_of(rows), path, key)
    assert codes(probe) == [(Code.keystore_backup_not_opened, Level.problem)]
    (finding,) = keystore_findings(probe)
    assert finding.text.startswith("the configured master keys open 0 of the 2 rows")
    assert ("no master key is configured" in finding.text) is (fault == "gone")


async def test_a_damaged_backup_is_told_and_the_keystore_is_examined_all_the_same(tmp_path: Path) -> None:
    kms = FakeKms("fakekms://k")
    rows = rows_by(kms, 2)
    path = backup_of(tmp_path, rows)
    path.write_bytes(path.read_bytes()[:-5])
    probe = await examine(keystore_of(rows), path, kms)
    assert codes(probe) == [(Code.keystore_backup_unusable, Level.problem)]
    assert (probe.rows, kms.unwraps) == (2, 0)


async def test_what_could_not_be_proved_is_said(tmp_path: Path) -> None:
    kms = FakeKms("fakekms://k")
    rows = rows_by(kms, 2)
    keystore = keystore_of(rows)
    keystore.refuses.add("rows")
    probe = await examine(keystore, backup_of(tmp_path, rows), kms)
    assert (Code.keystore_backup_unproved, Level.advice) in codes(probe)


async def test_a_keystore_of_others_is_advice(tmp_path: Path) -> None:
    probe = await examine(keystore_of(rows_by(FakeKms(), 3)), backup_of(tmp_path, []), FakeKms("fakekms://k"))
    assert (Code.keystore_of_others, Level.advice) not in codes(probe)
    probe.own = 0
    assert (Code.keystore_of_others, Level.advice) in codes(probe)


def test_people_and_programs_see_the_backup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows").mkdir()
    file = tmp_path / "e.toml"
    with pytest.raises(SystemExit):
        main(["keygen", str(tmp_path / "key.json")])
    file.write_text(f'key = "localfile://{tmp_path}/key.json"\nkeystore = "file://{tmp_path}/rows"\n')
    backup = backup_of(tmp_path, [])
    capsys.readouterr()

    def doctor(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(["doctor", "--config", str(file), *more])
        return int(left.value.code or 0), capsys.readouterr().out

    status, out = doctor("--keystore-backup", str(backup))
    assert status == 0
    assert "0 rows; 0 of 0 rows of the keystore are in it; 0 of 0 that were tried open" in " ".join(out.split())
    document = json.loads(doctor("--keystore-backup", str(backup), "--json")[1])
    assert document["keystore"]["backup"] == {"rows": 0, "compared": 0, "lacking": 0, "tried": 0, "opened": 0}
    assert json.loads(doctor("--json")[1])["keystore"]["backup"] is None
    assert doctor("--keystore-backup", str(tmp_path / "astray"))[0] == 1
    file.write_text(f'key = "localfile://{tmp_path}/key.json"\n')
    assert doctor("--keystore-backup", str(backup))[0] == 2
