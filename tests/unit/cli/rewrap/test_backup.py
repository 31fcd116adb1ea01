"""A backup proves what it has, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envelope_codec.cli.keystore_file import new_row_file
from envelope_codec.cli.rewrap.backup import Backup
from envelope_codec.errors import ConfigurationError
from envelope_codec.keystore import Kept
from envelope_codec.keystore_change import add_verified
from tests.support.rewrapped_rows import Bench, imported, row_by


def test_it_has_exactly_the_verified_recipients_of_the_new_key(tmp_path: Path) -> None:
    bench = Bench()
    row, found = row_by(bench.old), imported(row_by(bench.new))
    done = add_verified(row, bench.masters.move(row, row.verified[0]))
    with new_row_file(tmp_path / "file") as rows:
        for one in sorted((done, found), key=lambda one: one.key):
            rows.add(Kept(one.key, one.serialize(), ""))
    backup = Backup(tmp_path / "file", bench.masters.ids)
    old, new = done.verified
    assert backup.has(row.key, new)
    assert not backup.has(found.key, new)
    assert not backup.has(row.key, old)
    assert not backup.has(row.key, bench.masters.move(row, old))
    assert not backup.has(row.key, replace(new, key_version="2"))
    assert not backup.has(found.key, found.imported[0])


def test_a_file_that_is_cut_short_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"format": "envelope-codec/keystore-1"}\n')
    with pytest.raises(ConfigurationError, match="no whole file"):
        Backup(tmp_path / "file", Bench().masters.ids)
