"""What doctor says of policies where wrapping keys are shared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.doctor.finding import Code, Finding, Level
from envelope_codec.cli.doctor.keys import Probe
from envelope_codec.cli.doctor.sharing_findings import sharing_findings
from envelope_codec.cli.keys.configured_keys import ConfiguredKey, purpose_of
from envelope_codec.envelope import Purpose
from envelope_codec.testing import FakeKeystore

AWS = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GCP = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
SHARING: dict[str, Any] = {"keystore": FakeKeystore(), "share_wrapping_keys": True, "keystore_auth": "ab" * 32}


def found(key: str, key_id: str = "", *, seals: bool = True, **settings: Any) -> list[Finding]:
    probe = Probe(ConfiguredKey("prod", "key", key, seals, {}), key_id=key_id or key)
    return list(sharing_findings([probe], EnvelopeConfig(key=key, **settings)))


def test_aws_denies_by_the_purpose() -> None:
    [finding] = found(AWS, **SHARING)
    assert (finding.code, finding.level) == (Code.sharing_policy, Level.advice)
    statement = json.loads(finding.fix[finding.fix.index("{") :])
    assert statement["Resource"] == AWS
    condition = statement["Condition"]["StringEquals"]
    assert condition == {"kms:EncryptionContext:envelope-codec:purpose": "shared-wrapping-key"}


def test_vault_allows_the_end_of_the_associated_data() -> None:
    [finding] = found("hashivault://key", "hashivault://key?mount=transit", **SHARING)
    assert 'path "transit/encrypt/key"' in finding.fix
    assert '"associated_data" = ["*' in finding.fix
    assert "batch_input" not in finding.fix


def test_gcp_has_no_policy() -> None:
    [finding] = found(GCP, **SHARING)
    assert "no policy" in finding.text


def test_nothing_is_said_where_nothing_is_shared_or_a_key_only_opens() -> None:
    assert not found(AWS)
    assert not found(AWS, seals=False, **SHARING)


@pytest.mark.parametrize(
    ("settings", "purpose"),
    [
        (SHARING, Purpose.SHARED_WRAPPING_KEY),
        ({**SHARING, "verify_wraps": False}, Purpose.WRAPPING_KEY),
        ({}, Purpose.WRAPPING_KEY),
        ({"wrapping": "direct"}, Purpose.DATA_KEY),
    ],
)
def test_master_keys_are_tried_for_the_purpose_of_new_records(settings: dict[str, Any], purpose: Purpose) -> None:
    assert purpose_of(EnvelopeConfig(key=AWS, **settings)) is purpose
