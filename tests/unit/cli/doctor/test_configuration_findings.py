"""What the doctor says of a configuration without asking anybody."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec import EnvelopeConfig, NamespaceKeys
from envelope_codec.cli.doctor.finding import Code
from envelope_codec.testing import FakeKms
from tests.support.doctor_runs import advised, examine, found, problems


@pytest.mark.parametrize(
    ("settings", "namespaces", "expected_problems", "expected_advice"),
    [
        ({}, [], [], ["default-key-for-all", "require-encryption-off"]),
        ({"require_encryption": True}, [], [], ["default-key-for-all"]),
        ({"sealing": False}, [], [], ["sealing-off", "default-key-for-all"]),
        ({"wrapping": "direct", "require_encryption": True}, [], [], ["default-key-for-all", "direct-mode"]),
        ({"backups": 2, "require_encryption": True}, [], [], ["default-key-for-all", "one-recipient-suffices"]),
        ({"backups": 2, "min_recipients": 2, "require_encryption": True}, [], [], ["default-key-for-all"]),
        ({"only": "prod", "require_encryption": True}, ["prod"], [], []),
        ({"only": "prod", "require_encryption": True}, ["prod", "Prod"], ["namespace-without-key"], []),
        ({"require_encryption": True}, ["n" * 5_000], ["namespace-unusable"], ["default-key-for-all"]),
        ({"require_encryption": True}, ["a\udcffb"], ["namespace-unusable"], ["default-key-for-all"]),
        ({"require_encryption": True}, [""], ["namespace-unusable"], ["default-key-for-all"]),
    ],
)
async def test_what_is_said_of_a_configuration(
    settings: dict[str, Any], namespaces: list[str], expected_problems: list[str], expected_advice: list[str]
) -> None:
    settings = dict(settings)
    if name := settings.pop("only", None):
        settings["namespaces"] = {name: NamespaceKeys(key=FakeKms())}
    else:
        settings["key"] = FakeKms()
    settings["backup_keys"] = tuple(FakeKms() for _ in range(settings.pop("backups", 0)))
    diagnosis = await examine(EnvelopeConfig(**settings), *namespaces)
    assert problems(diagnosis) == expected_problems
    assert advised(diagnosis) == expected_advice


async def test_a_namespace_that_is_kept_off_the_default_key_is_told() -> None:
    diagnosis = await examine(EnvelopeConfig(key=FakeKms(), required=("prod-*",)), "prod-eu")
    assert problems(diagnosis) == [Code.namespace_without_key]
    assert "required keeps the default key from it" in diagnosis.findings[0].text


async def test_what_is_said_of_backups_names_the_namespace() -> None:
    keys = NamespaceKeys(key=FakeKms(), backup_keys=(FakeKms(),))
    diagnosis = await examine(EnvelopeConfig(namespaces={"prod": keys}), "prod")
    finding = found(diagnosis, Code.one_recipient_suffices)
    assert (finding.subject, finding.fix.partition(" if")[0]) == (
        "namespaces.prod.min_recipients",
        "set min_recipients = 2",
    )
