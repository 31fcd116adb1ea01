"""The library and the second reader of keystore rows read the good vectors alike, and take the bad ones for absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envelope_codec.envelope import Recipient
from envelope_codec.keystore_row import MalformedRow, make_tag, parse_row
from tests.support import second_reader
from tests.support.second_row_reader import read_row, row_tag
from tests.vectors.row_files import RowVector, load_rows
from tests.vectors.vector_files import FOLDER

GOOD, BAD = load_rows("ok"), load_rows("absent")

MISREAD = ("row-empty", "row-cut", "row-without-tag-length", "row-verified-count", "row-head-empty", "row-head-short")
"""Whatever follows the defect is missing here, or is read from the wrong place."""


def name_of(vector: RowVector) -> str:
    return vector.name


def plain(recipients: tuple[Recipient, ...]) -> list[tuple[str, str, bytes]]:
    return [(one.key_id, one.key_version, one.ciphertext) for one in recipients]


@pytest.mark.parametrize("vector", GOOD, ids=name_of)
def test_a_good_row_is_read_and_written_again_to_the_byte(vector: RowVector) -> None:
    row = parse_row(vector.key, vector.row)
    assert (row.purpose, row.created, dict(row.context)) == (vector.purpose, vector.created, vector.context)
    assert (row.id, row.tag, row.key) == (vector.id, vector.tag, vector.key)
    assert (plain(row.verified), plain(row.imported)) == (vector.verified, vector.imported)
    assert row.serialize() == vector.row
    if vector.tag_key is not None:
        assert make_tag(row, vector.tag_key) == vector.tag


@pytest.mark.parametrize("vector", GOOD, ids=name_of)
def test_the_second_reader_reads_a_good_row(vector: RowVector) -> None:
    row = read_row(vector.key, vector.row)
    assert (row.purpose, row.created, row.context) == (vector.purpose, vector.created, vector.context)
    assert (row.id, row.tag, row.verified, row.imported) == (vector.id, vector.tag, vector.verified, vector.imported)
    if vector.tag_key is not None:
        assert row_tag(vector.tag_key, row) == vector.tag


@pytest.mark.parametrize("vector", BAD, ids=name_of)
def test_a_bad_row_is_absent(vector: RowVector) -> None:
    with pytest.raises(MalformedRow):
        parse_row(vector.key, vector.row)
    with pytest.raises(ValueError):  # noqa: PT011 - the second reader has one error
        read_row(vector.key, vector.row)


@pytest.mark.parametrize(
    "vector", [vector for vector in BAD if not vector.name.startswith((*MISREAD, "row-head-long"))], ids=name_of
)
def test_a_bad_row_breaks_one_rule(vector: RowVector, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[str] = []
    monkeypatch.setattr(second_reader, "_require", lambda holds, rule: None if holds else broken.append(rule))
    read_row(vector.key, vector.row)
    if vector.name == "row-65537":
        broken.remove("row has no trailing bytes")
    if vector.name in ("row-head-purpose-0", "row-head-purpose-4"):
        broken.remove("row's purpose")
    assert len(set(broken)) == 1


def test_every_rule_of_the_second_reader_is_broken_by_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    rules, broken = set[str](), set[str]()

    def require(holds: bool, rule: str) -> None:
        rules.add(rule)
        if not holds:
            broken.add(rule)
            raise ValueError(rule)

    monkeypatch.setattr(second_reader, "_require", require)
    for vector in load_rows():
        try:
            read_row(vector.key, vector.row)
        except ValueError:
            continue
    assert broken == rules


def test_names_are_unique_and_each_row_says_its_property() -> None:
    vectors = load_rows()
    assert len({vector.name for vector in vectors}) == len(vectors)
    assert all(vector.comment for vector in vectors)
    assert {vector.expect for vector in vectors} == {"ok", "absent"}


def test_the_generator_writes_the_committed_rows(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.vectors.make_rows", str(tmp_path)], check=True, cwd=FOLDER.parents[1])
    for path in (FOLDER / "rows").glob("*.json"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
