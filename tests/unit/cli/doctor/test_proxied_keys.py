"""What the doctor says of the keys of Temporal's proxy."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.doctor.finding import Code, Finding
from envelope_codec.cli.doctor.proxied_keys import proxied_key_findings
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.testing import FakeKms
from tests.support.doctor_surveys import started, surveyed
from tests.support.proxied import NAME, seal_as_proxy

ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


async def told(config: EnvelopeConfig, *payloads: Payload) -> list[Finding]:
    surveys = {"default": surveyed(config, started(*payloads))}
    return await proxied_key_findings(config, ["default"], surveys, MasterKeys(), Calls(), Deadline(30))


def listing(*keys: Any, name: str = NAME) -> EnvelopeConfig:
    return EnvelopeConfig(key=FakeKms(), temporal_proxy_keys={name: keys})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyDenied("denied"), Code.unwrap_denied),
        (KmsUnavailable("down"), Code.unwrap_unavailable),
        (InvalidCiphertext("corrupt"), Code.unwrap_invalid),
        (RuntimeError("a fault"), Code.unwrap_unavailable),
    ],
)
async def test_a_key_that_does_not_unwrap_what_the_histories_hold_is_a_problem(error: Exception, code: Code) -> None:
    kms = FakeKms()
    kms.fail_next(error)
    [finding] = await told(listing(kms), seal_as_proxy(kms), seal_as_proxy(kms))
    assert finding.code is code
    assert finding.subject == "temporal_proxy_keys, namespace default"
    assert finding.fix
    assert kms.unwraps == 1


async def test_one_of_several_keys_is_enough() -> None:
    former, current = FakeKms(), FakeKms()
    assert await told(listing(current, former), seal_as_proxy(former)) == []


async def test_where_no_history_has_such_a_payload_nothing_is_asked() -> None:
    kms, broken = FakeKms(), seal_as_proxy(FakeKms())
    broken.metadata["encryption-dek"] = b"!"
    assert await told(listing(kms)) == await told(listing(kms), broken) == []
    assert kms.unwraps == 0


@pytest.mark.parametrize(
    ("key", "name"), [(ARN, f"awskms:///{ARN}x"), ("localfile:///none", NAME), ("what://key", NAME)]
)
async def test_a_key_that_can_not_be_used_is_a_problem(key: str, name: str) -> None:
    [finding] = await told(listing(key, name=name))
    assert finding.code is Code.provider_unusable


async def test_a_namespace_has_its_own_list() -> None:
    kms = FakeKms()
    kms.denied = True
    keys: Any = {"key": FakeKms(), "temporal_proxy_keys": {NAME: [kms]}}
    [finding] = await told(EnvelopeConfig(key=FakeKms(), namespaces={"default": keys}), seal_as_proxy(kms))
    assert finding.subject == "namespaces.default.temporal_proxy_keys, namespace default"
