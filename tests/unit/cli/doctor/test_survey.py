"""What the doctor makes of the histories that it reads."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Header, Payload, Payloads, SearchAttributes
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    HistoryEvent,
    MarkerRecordedEventAttributes,
    NexusOperationCompletedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)

from envelope_codec import EnvelopeCodec, EnvelopeConfig, NamespaceKeys
from envelope_codec.cli.connection import Connection, ConnectionUnusable, load_connection
from envelope_codec.cli.doctor.call import Calls, Deadline
from envelope_codec.cli.doctor.configured_keys import purpose_of, sealing_keys
from envelope_codec.cli.doctor.finding import Code, Finding, Level
from envelope_codec.cli.doctor.histories import History, ReadFailure, Reading, ServerFailed
from envelope_codec.cli.doctor.key_findings import key_findings
from envelope_codec.cli.doctor.keys import KeyCheck
from envelope_codec.cli.doctor.master_keys import MasterKeys
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.doctor.survey_findings import (
    clock_findings,
    requirement_finding,
    server_finding,
    survey_findings,
    unconfigured_finding,
)
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.cli.payloads.kind import Kind
from envelope_codec.errors import KeyDenied
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"marigold"')
LEGACY = Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"k"}, data=b"x" * 40)
SECONDS = 60.0


class Sealer:
    """Seals by a codec of its own for each namespace."""

    def __init__(self) -> None:
        self._codecs: list[EnvelopeCodec] = []

    async def __call__(self, kms: Any, namespace: str = "default", **settings: Any) -> Payload:
        codec = EnvelopeCodec(EnvelopeConfig(key=kms, **settings), namespace=namespace)
        self._codecs.append(codec)
        return (await codec.encode([PLAIN]))[0]

    def close(self) -> None:
        for codec in self._codecs:
            codec.close()


@pytest.fixture
async def seal() -> AsyncIterator[Sealer]:
    sealer = Sealer()
    yield sealer
    sealer.close()


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms("fakekms://main")


def started(*inputs: Payload, **attributes: Any) -> HistoryEvent:
    return HistoryEvent(
        event_id=1,
        event_time=Timestamp(seconds=1_700_000_000),
        workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
            input=Payloads(payloads=inputs), **attributes
        ),
    )


def failed(failure: Failure) -> HistoryEvent:
    attributes = ActivityTaskFailedEventAttributes(failure=failure)
    return HistoryEvent(event_id=2, activity_task_failed_event_attributes=attributes)


def surveyed(config: EnvelopeConfig, *events: HistoryEvent, namespace: str = "default", **reading: Any) -> Survey:
    histories = [History("w-1", "r", list(events))] if events else []
    return Survey.of(Reading(namespace, histories, **reading), config)


def told(survey: Survey, config: EnvelopeConfig, *, asked: bool = True) -> dict[str, Finding]:
    return {finding.code.value: finding for finding in survey_findings(survey, config, asked)}


async def test_envelopes_are_counted_and_nothing_is_found(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    sealed = await seal(kms)
    survey = surveyed(config, started(sealed, sealed), failed(Failure(encoded_attributes=sealed)))
    assert told(survey, config) == {}
    assert (survey.events, survey.payloads, survey.kinds) == (2, 3, {Kind.envelope: 3})
    assert list(survey.records.values()) == [3]


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


def test_what_temporal_writes_in_clear_is_no_finding(kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms, require_encryption=True)
    marker = MarkerRecordedEventAttributes(marker_name="core_patch", details={"patch-data": Payloads(payloads=[PLAIN])})
    survey = surveyed(
        config,
        started(search_attributes=SearchAttributes(indexed_fields={"City": PLAIN})),
        HistoryEvent(marker_recorded_event_attributes=marker),
        failed(Failure(message="activity StartToClose timeout", source="Server")),
    )
    assert told(survey, config) == {}
    assert survey.temporal == {"search attribute": 1, "marker of the SDK's core": 1}


@pytest.mark.parametrize("headers", [True, False])
async def test_headers_may_be_left_in_clear_on_purpose(seal: Sealer, kms: FakeKms, headers: bool) -> None:
    config = EnvelopeConfig(key=kms, headers=headers)
    survey = surveyed(config, started(await seal(kms), header=Header(fields={"h": PLAIN})))
    assert ("payloads-in-clear" in told(survey, config)) is headers
    assert (survey.clear_headers, survey.payloads) == (0 if headers else 1, 2)


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


# Keys


async def check_of(config: EnvelopeConfig, records: Any) -> Any:
    with quiet_logs() as words:
        check = KeyCheck(Calls(), MasterKeys(), words)
        return await check.without_key(list(records), config, Deadline(SECONDS))


async def test_envelopes_whose_keys_are_not_configured_are_told(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    stranger = FakeKms("fakekms://stranger")
    survey = surveyed(config, started(await seal(kms), *[await seal(stranger)] * 2))
    without = await check_of(config, survey.records)
    assert [record.recipients[0].key_id for record in without] == ["fakekms://stranger"]
    finding = unconfigured_finding(survey, without)
    assert (finding.code, finding.level) == (Code.key_not_configured, Level.problem)
    assert finding.text.startswith("2 envelopes in")
    assert finding.text.endswith("that sealed them: fakekms://stranger")


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"key": "other"}, True),
        ({"key": "main"}, False),
        ({"key": "other", "decrypt_keys": ("main",)}, False),
        ({"key": "other", "backup_keys": ("main",)}, False),
        ({"key": "main", "namespaces": {"default": "other"}}, True),
        ({"key": "other", "namespaces": {"default": "main"}}, False),
        ({"namespaces": {"new": "main"}, "namespace_aliases": {"default": "new"}}, False),
        ({"namespaces": {"new": "main"}}, True),
        # Being configured for another namespace is not enough.
        ({"key": "other", "namespaces": {"new": "main"}}, True),
    ],
)
async def test_a_key_counts_only_for_its_own_namespace(seal: Sealer, settings: dict[str, Any], missing: bool) -> None:
    keys = {"main": FakeKms(), "other": FakeKms()}
    config = EnvelopeConfig(
        **{
            name: {key: NamespaceKeys(key=keys[value]) for key, value in given.items()}
            if name == "namespaces"
            else tuple(keys[one] for one in given)
            if isinstance(given, tuple)
            else keys.get(given, given)
            if isinstance(given, str)
            else given
            for name, given in settings.items()
        }
    )
    survey = surveyed(config, started(await seal(keys["main"])))
    assert bool(await check_of(config, survey.records)) is missing


async def test_a_key_of_the_namespace_that_met_the_envelope_does_not_count(seal: Sealer) -> None:
    own, other = FakeKms(), FakeKms()
    config = EnvelopeConfig(namespaces={"default": NamespaceKeys(key=own), "other": NamespaceKeys(key=other)})
    copied = surveyed(config, started(await seal(own, "other"), await seal(other, "other")))
    without = await check_of(config, copied.records)
    assert [record.recipients[0].key_id for record in without] == [own.key_id]


async def test_of_several_recipients_one_is_enough(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    sealed = await seal(FakeKms(), backup_keys=(kms,))
    assert await check_of(config, surveyed(config, started(sealed)).records) == []


async def test_a_key_that_cannot_tell_gives_no_false_alarm(seal: Sealer, kms: FakeKms) -> None:
    class Alias(FakeKms):
        def accepts(self, key_id: str) -> bool:
            raise KeyDenied("permission to use the key is missing")

    sealed = await seal(kms)
    for keys in ({"key": Alias()}, {"key": FakeKms(), "decrypt_keys": ("what://k",)}):
        config = EnvelopeConfig(**keys)
        assert await check_of(config, surveyed(config, started(sealed)).records) is None
    config = EnvelopeConfig(key=Alias(), decrypt_keys=(kms,))
    assert await check_of(config, surveyed(config, started(sealed)).records) == []


class DecryptOnly(FakeKms):
    """May not wrap, as the one who configured it for opening wants it."""

    may_wrap = True

    def wrap(self, secret: bytes, context: Any) -> Any:
        if not self.may_wrap:
            raise KeyDenied("permission to use the key is missing")
        return super().wrap(secret, context)


@pytest.mark.parametrize(
    ("namespace", "denied", "expected"),
    [
        ("default", False, []),
        ("default", True, [Code.unwrap_denied]),
        ("another", False, [Code.opening_unproved]),
    ],
)
async def test_a_history_proves_that_a_key_opens_which_may_not_wrap(
    seal: Sealer, kms: FakeKms, namespace: str, denied: bool, expected: list[Code]
) -> None:
    old = DecryptOnly("fakekms://old")
    config = EnvelopeConfig(key=kms, decrypt_keys=(old,))
    survey = surveyed(config, started(await seal(kms, namespace), await seal(old, namespace)))
    old.may_wrap, old.denied = False, denied
    with quiet_logs() as words:
        check = KeyCheck(Calls(), MasterKeys(), words)
        probes = await check.run(sealing_keys(config, "default"), purpose_of(config), Deadline(SECONDS))
        await check.prove(probes[1], list(survey.records), Deadline(SECONDS))
    assert probes[1].proved is (namespace == "default")
    assert [finding.code for finding in key_findings(probes, config, purpose_of(config))] == expected


# Clock


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


# require_encryption


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
    for settings in ({"require_encryption": True}, {"sealing": False}):
        assert requirement_finding(EnvelopeConfig(key=kms, **settings), {"default": sealed}) is None


# The connection


def test_the_server_is_asked_only_if_it_is_asked_for() -> None:
    assert load_connection(None, None, {}) is None
    assert load_connection(None, None, {"TEMPORAL_NAMESPACE": "n", "TEMPORAL_API_KEY": "k"}) is None


def test_the_connection_is_the_profiles(tmp_path: Any) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.prod]\naddress = "prod:7233"\nnamespace = "p"\napi_key = "marigold"\n')
    environment = {"TEMPORAL_CONFIG_FILE": str(file)}
    target = load_connection(None, "prod", environment)
    assert target == Connection("prod:7233", "p", {"api_key": "marigold", "tls": True})
    assert "marigold" not in repr(target)
    assert target.without_secrets("Bearer marigold") == "Bearer (left out)"
    elsewhere = load_connection("elsewhere:1", "prod", environment)
    assert elsewhere is not None
    assert (elsewhere.address, elsewhere.namespace) == ("elsewhere:1", "p")
    with pytest.raises(ConnectionUnusable, match="'none' not found"):
        load_connection(None, "none", environment)


def test_the_environment_names_a_server_too() -> None:
    target = load_connection(None, None, {"TEMPORAL_ADDRESS": "a:1", "TEMPORAL_NAMESPACE": "n", "TEMPORAL_TLS": "true"})
    assert target is not None
    assert (target.address, target.namespace, target.tls) == ("a:1", "n", True)
    plain = load_connection("b:2", None, {"TEMPORAL_ADDRESS": "a:1"})
    assert plain is not None
    assert (plain.address, plain.namespace, plain.tls) == ("b:2", None, False)
