"""What the doctor says of the histories that it read."""

from __future__ import annotations

import time
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    NexusOperationCompletedEventAttributes,
)

from envelope_codec import EnvelopeConfig, NamespaceKeys
from envelope_codec.cli.connection import Connection
from envelope_codec.cli.doctor.finding import Code, Level
from envelope_codec.cli.doctor.histories import ReadFailure, ServerFailed
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.doctor.survey_findings import (
    clock_findings,
    requirement_finding,
    server_finding,
)
from envelope_codec.cli.payloads.kind import Kind
from envelope_codec.testing import FakeKms
from tests.support.doctor_runs import SECONDS
from tests.support.doctor_surveys import PLAIN, Sealer, failed, started, surveyed, told
from tests.support.proxied import NAME, seal_as_proxy

LEGACY = Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"k"}, data=b"x" * 40)


@pytest.mark.parametrize(("sealing", "level"), [(True, Level.problem), (False, Level.advice)])
async def test_plaintext_is_told_with_its_first_place(seal: Sealer, kms: FakeKms, sealing: bool, level: Level) -> None:
    config = EnvelopeConfig(key=kms, sealing=sealing)
    survey = surveyed(config, started(await seal(kms), PLAIN, Payload(metadata={"encoding": b"binary/null"})))
    findings = told(survey, config)
    assert list(findings) == ["payloads-in-clear"]
    finding = findings["payloads-in-clear"]
    assert finding.level is level
    assert finding.text == (
        "2 of 3 payloads in its newest histories are in clear (1 json/plain, 1 binary/null); the first is at "
        "workflow 'w-1', event 1: workflowExecutionStartedEventAttributes.input.payloads[1]"
    )


@pytest.mark.parametrize(("sealing", "level"), [(True, Level.problem), (False, Level.advice)])
async def test_failure_messages_in_clear_are_told(seal: Sealer, kms: FakeKms, sealing: bool, level: Level) -> None:
    config = EnvelopeConfig(key=kms, sealing=sealing)
    hidden = Failure(message="Encoded failure", encoded_attributes=await seal(kms), cause=Failure(message="marigold"))
    findings = told(surveyed(config, failed(hidden)), config)
    assert list(findings) == ["failures-in-clear"]
    assert findings["failures-in-clear"].level is level
    assert "event 2: activityTaskFailedEventAttributes.failure.cause" in findings["failures-in-clear"].text
    assert "marigold" not in str(findings)


def test_requiring_encryption_too_early_is_a_problem(kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms, require_encryption=True)
    findings = told(surveyed(config, started(PLAIN)), config)
    assert list(findings) == ["payloads-in-clear", "require-encryption-too-early"]
    assert findings["require-encryption-too-early"].level is Level.problem


class Decoder:
    """Stands for a legacy codec; nothing is decoded here."""

    async def decode(self, payloads: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(("codecs", "expected"), [((), ["payloads-of-legacy-codec"]), ((Decoder(),), [])])
def test_what_a_legacy_codec_sealed_needs_that_codec(kms: FakeKms, codecs: Any, expected: list[str]) -> None:
    config = EnvelopeConfig(key=kms, legacy_codecs=codecs)
    survey = surveyed(config, started(LEGACY))
    assert list(told(survey, config)) == expected
    assert survey.kinds == {Kind.legacy: 1}


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("place", ["default", "namespaces"])
def test_what_temporals_proxy_sealed_needs_its_key_listed_for_the_namespace(
    kms: FakeKms, listed: bool, place: str
) -> None:
    proxied = seal_as_proxy(kms)
    keys: Any = {"key": kms, "temporal_proxy_keys": {NAME if listed else "proxykms://other": [kms]}}
    settings = keys if place == "default" else {"key": FakeKms(), "namespaces": {"default": keys}}
    config = EnvelopeConfig(**settings)
    survey = surveyed(config, started(proxied))
    findings = told(survey, config)
    assert list(findings) == ([] if listed else ["payloads-of-legacy-codec"])
    assert survey.proxied == {NAME: 1}
    if not listed:
        assert NAME in findings["payloads-of-legacy-codec"].text
        assert "temporal_proxy_keys" in findings["payloads-of-legacy-codec"].fix


async def test_malformed_envelopes_and_later_versions_are_told(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    malformed, later = await seal(kms), await seal(kms)
    malformed.metadata["encryption-data-key"] = b"short"
    later.metadata["encoding"] = b"binary/envelope-v2"
    findings = told(surveyed(config, started(malformed, later)), config)
    assert list(findings) == ["payloads-malformed", "payloads-of-later-version"]
    said = "malformed envelopes in its newest histories: 1 (the envelope's data key has the wrong length); the first"
    assert said in findings["payloads-malformed"].text
    assert "wrong length" not in findings["payloads-of-later-version"].text


async def test_envelopes_of_another_namespace_are_told(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    own, other = await seal(kms), await seal(kms, "elsewhere")
    findings = told(surveyed(config, started(own, other, other)), config)
    assert list(findings) == ["foreign-namespace"]
    assert "2 of elsewhere" in findings["foreign-namespace"].text


async def test_an_alias_or_a_nexus_operation_explains_another_namespace(seal: Sealer, kms: FakeKms) -> None:
    other = await seal(kms, "old")
    aliased = EnvelopeConfig(namespaces={"new": NamespaceKeys(key=kms)}, namespace_aliases={"old": "new"})
    assert told(surveyed(aliased, started(other), namespace="new"), aliased) == {}
    nexus = HistoryEvent(
        nexus_operation_completed_event_attributes=NexusOperationCompletedEventAttributes(result=other)
    )
    config = EnvelopeConfig(key=kms)
    assert told(surveyed(config, nexus), config) == {}


@pytest.mark.parametrize(
    ("failure", "asked", "code", "level"),
    [
        (ReadFailure.missing, True, "namespace-missing", Level.problem),
        (ReadFailure.missing, False, "namespace-missing", Level.advice),
        (ReadFailure.refused, False, "server-refused", Level.problem),
        (ReadFailure.late, False, "server-unreachable", Level.problem),
        (ReadFailure.unreachable, False, "server-unreachable", Level.problem),
        (None, False, "no-payloads", Level.advice),
    ],
)
def test_what_could_not_be_read_is_told(
    kms: FakeKms, failure: str | None, asked: bool, code: str, level: Level
) -> None:
    config = EnvelopeConfig(key=kms)
    findings = told(surveyed(config, failure=failure, words="its words"), config, asked=asked)
    assert [(name, finding.level) for name, finding in findings.items()] == [(code, level)]
    assert findings[code].words == ("its words" if failure else "")


def test_a_server_that_is_not_there_is_told_from_one_that_refuses() -> None:
    target = Connection("host:1", None, {"tls": True})
    refused, down = (
        server_finding(ServerFailed(kind, "words"), target) for kind in (ReadFailure.refused, ReadFailure.unreachable)
    )
    assert (refused.code, down.code) == (Code.server_refused, Code.server_unreachable)
    assert "TLS is on" in down.fix
    assert "TLS is off" in server_finding(ServerFailed(ReadFailure.late, ""), Connection("host:1", None, {})).fix


@pytest.mark.parametrize(("ahead", "expected"), [(-5.0, []), (5.0, []), (60.0, [Code.clock_off])])
@pytest.mark.parametrize("what", ["event", "record"])
async def test_times_in_the_future_are_told(
    seal: Sealer, kms: FakeKms, ahead: float, expected: list[Code], what: str
) -> None:
    config = EnvelopeConfig(key=kms)
    event = started(await seal(kms))
    survey = surveyed(config, event)
    assert survey.newest_event == 1_700_000_000
    (record,) = survey.records
    assert abs(record.created - time.time()) < SECONDS
    if what == "event":
        survey.newest_event = record.created + 1_000.0
    newest = survey.newest_event if what == "event" else record.created
    findings = list(clock_findings([survey, surveyed(config)], newest - ahead))
    assert [finding.code for finding in findings] == expected
    if findings:
        assert f"{ahead:.0f} s in the future" in findings[0].text
        assert ("newest event" in findings[0].text) is (what == "event")


async def test_encryption_should_be_required_once_there_are_envelopes_only(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    sealed, plain = surveyed(config, started(await seal(kms))), surveyed(config, started(PLAIN), namespace="b")

    def fix(*surveys: Survey) -> str | None:
        finding = requirement_finding(config, {survey.namespace: survey for survey in surveys})
        assert finding is None or (finding.code, finding.level) == (Code.require_encryption_off, Level.advice)
        return finding.fix if finding else None

    assert fix(sealed) == "the newest histories of default hold envelopes only: turn it on, if older ones do too"
    assert fix(sealed, plain) is None
    assert "once the namespaces hold nothing but envelopes" in str(fix())
    unread = surveyed(config, namespace="c", failure=ReadFailure.late)
    assert "histories of default hold" in str(fix(sealed, unread))
    for quiet in (EnvelopeConfig(key=kms, require_encryption=True), EnvelopeConfig(key=kms, sealing=False)):
        assert requirement_finding(quiet, {"default": sealed}) is None
