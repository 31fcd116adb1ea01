"""(For the patch.) The setting that names a bad key is in what the operator reads."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import ConfigurationError, EnvelopeConfig, EnvelopePlugin, KeyDenied, KeyNotConfigured
from envelope_codec._settings import NamespaceSettings
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.worker_start import prewarm_worker
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import wrapped_by


def denied() -> FakeKms:
    kms = FakeKms()
    kms.denied = True
    return kms


@pytest.mark.parametrize(
    ("config", "namespace", "setting"),
    [
        ({"key": denied()}, "default", "key"),
        ({"namespaces": {"prod": {"key": denied()}}}, "prod", "namespaces.prod.key"),
        ({"namespaces": {"prod-*": {"key": denied()}}}, "prod-1", "namespaces.prod-*.key"),
        (
            {"key": FakeKms(), "backup_keys": [FakeKms(), denied()], "min_recipients": 3},
            "default",
            "backup_keys[1]",
        ),
    ],
)
async def test_the_worker_that_can_not_start_names_the_setting(
    config: Any, namespace: str, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    with EnvelopePlugin(EnvelopeConfig(startup_jitter=0, **config)) as plugin:
        for _ in range(2):  # the second time it is the refusal that is remembered
            with caplog.at_level(logging.ERROR), pytest.raises(KeyDenied) as refused:
                await prewarm_worker(plugin.keyring, namespace, 0)
            assert str(refused.value).startswith(f"{setting}: the master key is disabled (key fakekms://")
            assert str(refused.value).endswith("`envelope-codec doctor` says what is missing")
            assert refused.value.key_id in str(refused.value)  # type: ignore[operator]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.startswith(f"the worker can't start: {setting}: ") for line in lines] == [True, True]


async def test_a_backup_key_that_is_refused_is_named(caplog: pytest.LogCaptureFixture) -> None:
    backup = denied()
    keys: NamespaceSettings = {"key": FakeKms(), "backup_keys": [backup]}
    config = EnvelopeConfig(namespaces={"prod": keys}, startup_jitter=0)
    with EnvelopePlugin(config) as plugin, caplog.at_level(logging.ERROR):
        await prewarm_worker(plugin.keyring, "prod", 0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "namespaces.prod.backup_keys[0] does not wrap, and sealing goes on without it: the master key is disabled "
        f"(key {backup.key_id}). What is sealed meanwhile has 1 of 2 recipients"
    )
    assert line.endswith("`envelope-codec doctor` says what is missing")


async def test_a_setting_does_not_travel_with_the_error_text() -> None:
    with EnvelopePlugin(denied()) as plugin, pytest.raises(KeyDenied) as refused:
        await plugin.keyring.sealing_key("default")
    assert str(refused.value) == "the master key is disabled"
    assert refused.value.setting == "key"


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        ({"key": "nokms://key"}, "key"),
        ({"key": FakeKms(), "backup_keys": [FakeKms(), "nokms://key"]}, "backup_keys[1]"),
        ({"key": FakeKms(), "decrypt_keys": ["nokms://key"]}, "decrypt_keys[0]"),
        ({"namespaces": {"prod-*": {"key": "nokms://key"}}}, "namespaces.prod-*.key"),
        ({"namespaces": {"a": {"key": FakeKms(), "decrypt_keys": ["nokms://k"]}}}, "namespaces.a.decrypt_keys[0]"),
    ],
)
def test_a_key_uri_that_names_nothing_is_told_with_its_setting(config: Any, setting: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        EnvelopePlugin(EnvelopeConfig(**config))
    assert str(refused.value).startswith(f"{setting}: no provider for key URI scheme 'nokms'")


async def test_the_log_names_the_master_keys_that_are_not_configured(caplog: pytest.LogCaptureFixture) -> None:
    other = FakeKms("fakekms://of\nothers")
    record, _ = wrapped_by(other)
    with EnvelopePlugin(FakeKms()) as plugin, pytest.raises(KeyNotConfigured) as refused:
        await plugin.keyring.opening_key(record)
    assert refused.value.key_id is None
    (line,) = [record.getMessage() for record in caplog.records if "is configured" in record.getMessage()]
    assert line.startswith("no master key of ['fakekms://of\\nothers'] is configured for namespace 'default'")
    assert "decrypt_keys" in line
    assert line.endswith("check with `envelope-codec doctor`; if it was retired, name its keystore: docs/rekeying.md")


async def test_fewer_master_keys_than_they_seem_are_told_so() -> None:
    class Alias(FakeKms):
        def __init__(self, target: FakeKms) -> None:
            super().__init__("fakekms://alias")
            self.wrap, self.unwrap = target.wrap, target.unwrap  # type: ignore[method-assign]

    key = FakeKms()
    with (
        EnvelopePlugin(key, backup_keys=[Alias(key)], min_recipients=2) as plugin,
        pytest.raises(KeyNotConfigured, match="fewer master keys than min_recipients"),
    ):
        await plugin.keyring.prewarm("default", timeout=5)


async def test_a_resolvers_key_that_is_not_listed_for_opening_does_not_seal(caplog: pytest.LogCaptureFixture) -> None:
    tenant = FakeKms("fakekms://tenant")
    for decrypt_keys, listed in (((), False), ((tenant,), True)):
        config = EnvelopeConfig(key=FakeKms(), decrypt_keys=decrypt_keys, resolver=lambda context: tenant)
        codec = EnvelopeCodec(config)
        if listed:
            assert await codec.decode(await codec.encode([Payload(data=b"x")])) == [Payload(data=b"x")]
        else:
            with pytest.raises(KeyNotConfigured, match="not configured for opening"):
                await codec.encode([Payload(data=b"x")])
            assert "fakekms://tenant is not among the decrypt_keys of namespace 'default'" in caplog.text
        codec.close()
