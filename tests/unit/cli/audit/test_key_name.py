"""A key's name: a misspelled one never passes for a key that nothing needs."""

from __future__ import annotations

from pathlib import Path

from envelope_codec.cli.audit.key_name import KeyName
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.kms import master_key
from tests.support.audit_findings import found
from tests.support.audited_payloads import record


def test_a_key_id_is_taken_as_it_is() -> None:
    key, tally = KeyName("OLD"), found("w", record("OLD", "NEW"))
    assert key.choose(tally) == ("OLD",)
    assert key.is_certain(("OLD",), tally)


def test_a_key_uri_stands_for_its_key_id(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    uri = key_uri(tmp_path / "key.json")
    key, id = KeyName(uri), master_key(uri).key_id
    assert key.choose(found("w", record(id, "NEW"))) == (id,)
    assert key.choose(found("w", record("NEW"))) == (id,)
    assert key.is_certain((id,), found("w", record("NEW")))


def test_a_misspelled_one_is_uncertain() -> None:
    key, tally = KeyName("nokey://OLDD"), found("w", record("OLD"))
    assert key.choose(tally) == ("nokey://OLDD",)
    assert not key.is_certain(key.choose(tally), tally)
    assert key.defect
