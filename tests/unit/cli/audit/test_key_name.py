"""A key's name: a misspelled one never passes for a key that nothing needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec.cli.audit.key_name import KeyName
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.kms import master_key
from envelope_codec_aws import AwsKms
from tests.support.audit_findings import found
from tests.support.audited_payloads import record

ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ALIAS = "awskms:///arn:aws:kms:us-east-1:111122223333:alias/envelope"


def test_a_key_id_is_taken_as_it_is() -> None:
    key, tally = KeyName("OLD"), found("w", record("OLD", "NEW"))
    assert key.choose(tally) == ("OLD",)
    assert key.find_doubt(("OLD",), tally) == ""


def test_a_key_uri_stands_for_its_key_id(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    uri = key_uri(tmp_path / "key.json")
    key, id = KeyName(uri), master_key(uri).key_id
    assert key.choose(found("w", record(id, "NEW"))) == (id,)
    assert key.choose(found("w", record("NEW"))) == (id,)
    assert key.find_doubt((id,), found("w", record("NEW"))) == ""


def test_a_misspelled_one_is_uncertain() -> None:
    key, tally = KeyName("nokey://OLDD"), found("w", record("OLD"))
    assert key.choose(tally) == ("nokey://OLDD",)
    assert "is no key URI" in key.find_doubt(key.choose(tally), tally)
    assert key.defect


@pytest.mark.parametrize("error", [KmsUnavailable("no answer"), KeyDenied("no permission")])
def test_an_alias_that_the_kms_does_not_resolve_is_uncertain(
    error: EnvelopeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After hours of reading, no KMS may end an audit."""
    key, tally = KeyName(ALIAS), found("w", record(ARN))

    def refuse(_: AwsKms, key_id: str) -> bool:
        if key_id == ARN:
            raise error
        return False

    monkeypatch.setattr(AwsKms, "accepts", refuse)
    chosen = key.choose(tally)
    assert chosen == (ALIAS.removeprefix("awskms:///"),)
    assert "it is an alias" in key.find_doubt(chosen, tally)


def test_an_alias_stands_for_the_key_that_it_points_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AwsKms, "accepts", lambda _, key_id: key_id == ARN)
    key, tally = KeyName(ALIAS), found("w", record(ARN))
    assert key.choose(tally) == (ARN,)
    assert key.find_doubt((ARN,), tally) == ""


@pytest.mark.parametrize(
    ("named", "found_id", "doubtful"),
    [
        ("hashivault://orders", "hashivault://orders?cluster=eu", True),
        ("hashivault://orders?cluster=eu", "hashivault://orders?cluster=us", True),
        ("hashivault://orders", "hashivault://Orders", True),
        ("hashivault://orders", "hashivault://invoices?cluster=eu", False),
        (f"awskms:///{ARN}", ARN.replace("key/1", "key/2"), False),
    ],
)
def test_a_key_that_is_spelled_alike_is_a_doubt(
    named: str, found_id: str, doubtful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The label of a Vault cluster belongs to the key id, and is easily left out."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "anything")
    key, tally = KeyName(named), found("w", record(found_id))
    doubt = key.find_doubt(key.choose(tally), tally)
    assert bool(doubt) is doubtful
    assert not doubtful or repr(found_id) in doubt


ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_ARN = ARN.replace("1234abcd", "0234abcd")
CRYPTO_KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
PROXIED_NAME = f"awskms:///{ARN}?region=us-east-1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(ARN, PROXIED_NAME), (PROXIED_NAME, PROXIED_NAME), (OTHER_ARN, OTHER_ARN), (CRYPTO_KEY, CRYPTO_KEY)],
)
def test_a_key_may_be_one_that_temporals_proxy_calls_by_another_name(text: str, expected: str) -> None:
    """Or a key that the proxy's payloads still need would pass for one that nothing needs."""
    tally = Tally()
    tally.add_proxied(PROXIED_NAME)
    assert KeyName(text).choose(tally) == (expected,)
