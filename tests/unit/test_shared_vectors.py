"""The library and the second reader adopt the wrapping keys of the good vectors of sharing, and none of the bad."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envelope_codec.envelope import Purpose, kms_context, parse_head, unlock_head
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row
from envelope_codec.keystore_sharing import Obstacle, Shared, auth_head, auth_row_key, make_slot, parse_slot
from tests.support import second_reader
from tests.support.adopting import adopt
from tests.support.second_row_reader import Sharer, check_adopting, read_row, row_in_slot, slot_of
from tests.vectors.shared_files import SharedVector, load_auth, load_shared
from tests.vectors.vector_files import FOLDER

ALL, AUTH = load_shared(), load_auth()


def name_of(vector: SharedVector) -> str:
    return vector.name


def adopt_by_second_reader(vector: SharedVector) -> None:
    row = read_row(vector.key, vector.row)
    sharer = Sharer(dict(vector.context), vector.key_ids, vector.now, vector.max_age)
    check_adopting(row, sharer, [AUTH[record_id].key for record_id in vector.pinned], vector.secret, vector.head)


@pytest.mark.parametrize("vector", ALL, ids=name_of)
def test_the_library_adopts_what_it_may(vector: SharedVector) -> None:
    assert adopt(vector, AUTH) == vector.expect


@pytest.mark.parametrize("vector", ALL, ids=name_of)
def test_the_second_reader_adopts_what_it_may(vector: SharedVector) -> None:
    if vector.expect == "adopt":
        adopt_by_second_reader(vector)
        return
    with pytest.raises(ValueError):  # noqa: PT011 - the second reader has one error
        adopt_by_second_reader(vector)


@pytest.mark.parametrize("vector", [one for one in ALL if one.expect not in ("adopt", "absent")], ids=name_of)
def test_a_bad_vector_breaks_one_rule(vector: SharedVector, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[str] = []
    monkeypatch.setattr(second_reader, "_require", lambda holds, rule: None if holds else broken.append(rule))
    adopt_by_second_reader(vector)
    assert broken == [vector.expect]


def test_every_rule_is_broken_by_a_vector() -> None:
    assert {vector.expect for vector in ALL} == {"adopt", "absent", "id", *(one.value for one in Obstacle)}


@pytest.mark.parametrize("vector", ALL, ids=name_of)
def test_the_slot_of_a_writer_names_the_row(vector: SharedVector) -> None:
    context = dict(vector.context)
    shared = Shared(context.pop("temporal-namespace"), context, vector.key_ids)
    sharer = Sharer(dict(vector.context), vector.key_ids, vector.now, vector.max_age)
    assert shared.slot_key == slot_of(sharer) == vector.slot_key
    assert make_slot(vector.key) == vector.slot
    assert parse_slot(vector.slot) == row_in_slot(vector.slot) == vector.key


def test_a_slot_is_no_row_and_a_row_is_no_slot() -> None:
    for vector in ALL:
        assert parse_slot(vector.row) is None
        with pytest.raises(MalformedRow):
            parse_row(vector.slot_key, vector.slot)


@pytest.mark.parametrize("slot", [b"", b"\0\1", b"\0\1" + bytes(31), b"\0\1" + bytes(33), b"\0\2" + bytes(32)])
def test_what_is_no_slot_names_nothing(slot: bytes) -> None:
    assert parse_slot(slot) is None


def test_an_authentication_record_is_found_by_its_id_alone() -> None:
    for record in AUTH.values():
        context = dict(record.context)
        head = auth_head(context.pop("temporal-namespace"), context)
        assert auth_row_key(head, record.id) == record.row_key
        assert unlock_head(head, record.id, record.secret) == record.key


def test_the_kms_gets_the_purpose_of_an_authentication_record() -> None:
    """So that a policy can keep roles from unwrapping it."""
    row = KeystoreRow(auth_head("prod", {}), bytes(32), parse_head_purpose(), 0, (("temporal-namespace", "prod"),), ())
    assert row.kms_context["envelope-codec:purpose"] == "shared-wrapping-key"
    assert row.kms_context == kms_context(row.purpose, row.context, row.id)


def parse_head_purpose() -> Purpose:
    return parse_head(auth_head("prod", {})).purpose


def test_names_are_unique_and_each_vector_says_its_property() -> None:
    assert len({vector.name for vector in ALL}) == len(ALL)
    assert all(vector.comment for vector in ALL)


def test_the_generator_writes_the_committed_vectors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.vectors.make_shared", str(tmp_path)]
    subprocess.run(command, check=True, cwd=FOLDER.parents[1])
    for path in (FOLDER / "shared").glob("*.json"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
