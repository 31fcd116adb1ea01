"""Codecs from before: they open what they sealed, one payload at a time, and nothing they say gets out."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Link, Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
)
from temporalio.converter import (
    JSONProtoPayloadConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from envelope_codec import ConfigurationError, EncryptionRequired, EnvelopeConfig, EnvelopePlugin, InvalidCiphertext
from envelope_codec.observe import Event
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.system_payloads import describe_clear_payload
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')


class Reversing(PayloadCodec):
    """Seals by reversing: what matters is who is asked to open what."""

    def __init__(self, encoding: bytes = b"reversed") -> None:
        self.encoding = encoding

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": self.encoding}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload.FromString(p.data[::-1]) if p.metadata.get("encoding") == self.encoding else p for p in payloads
        ]


class Failing(PayloadCodec):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise AssertionError("a legacy codec seals nothing")

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise self._error


class Mangling(Failing):
    """Changes what it is given, and returns the wrong count."""

    def __init__(self) -> None:
        super().__init__(AssertionError())

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        for payload in payloads:
            payload.Clear()
        return []


class Keyed(Reversing, WithSerializationContext):
    """Opens what was sealed for its workflow only."""

    def with_context(self, context: SerializationContext) -> Keyed:
        if not isinstance(context, WorkflowSerializationContext) or not context.workflow_id:
            return self
        return Keyed(context.workflow_id.encode())


class Counts:
    def __init__(self) -> None:
        self.payloads: Counter[str] = Counter()

    def on_event(self, event: Event) -> None:
        self.payloads[f"{event.operation} {event.outcome}"] += event.payloads


def codec(*legacy: Any, observer: Any = None, **settings: Any) -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=FakeKms(), legacy_codecs=legacy, **settings), observer=observer)


async def test_each_payload_is_opened_by_whom_it_concerns_and_counted() -> None:
    counts, old, older = Counts(), Reversing(), Reversing(b"reversed before")
    ours = codec(old, older, observer=counts)
    payloads = [*await old.encode([PLAIN]), PLAIN, *await older.encode([PLAIN]), *await ours.encode([PLAIN])]
    before = [Payload.FromString(payload.SerializeToString()) for payload in payloads]
    assert await ours.decode(payloads) == [PLAIN] * 4
    assert payloads == before
    counted = {name: number for name, number in counts.payloads.items() if number}
    assert counted == {"seal ok": 1, "open ok": 1, "legacy ok": 2, "pass ok": 1}


async def test_what_a_legacy_codec_opens_is_encrypted_enough_and_plaintext_is_not() -> None:
    old = Reversing()
    strict = codec(old, require_encryption=True)
    assert await strict.decode(await old.encode([PLAIN])) == [PLAIN]
    with pytest.raises(EncryptionRequired):
        await strict.decode([PLAIN])


@pytest.mark.parametrize(
    "legacy",
    [Failing(ValueError("arn:secret")), Failing(ApplicationError("secret", non_retryable=True)), Mangling()],
    ids=["error", "temporal's failure", "wrong count"],
)
async def test_what_goes_wrong_in_a_legacy_codec_is_told_to_the_log_alone(
    legacy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    payload = Payload.FromString(PLAIN.SerializeToString())
    with caplog.at_level(logging.WARNING), pytest.raises(InvalidCiphertext) as caught:
        await codec(legacy).decode([payload])
    assert str(caught.value) == "a legacy codec could not open the payload"
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert payload == PLAIN
    assert type(legacy).__name__ in caplog.text


async def test_a_codec_that_knows_nothing_of_a_payload_does_not_hide_it_from_the_next() -> None:
    old = Reversing()
    assert await codec(Failing(ValueError("another key")), old).decode(await old.encode([PLAIN])) == [PLAIN]


async def test_legacy_codecs_get_the_context() -> None:
    ours = codec(Keyed(), Reversing())
    sealed = await Keyed(b"workflow 1").encode([PLAIN])
    one, other = (
        ours.with_context(WorkflowSerializationContext(namespace="default", workflow_id=f"workflow {number}"))
        for number in (1, 2)
    )
    assert await one.decode(sealed) == [PLAIN]
    assert await other.decode(sealed) == sealed
    same = codec(Reversing())
    context = WorkflowSerializationContext(namespace="default", workflow_id="workflow 1")
    assert same.with_context(context) is same.with_context(context)


async def test_legacy_codecs_are_named_by_text_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_before.py").write_text(
        "from temporalio.converter import PayloadCodec\n"
        "class Codec(PayloadCodec):\n"
        "    async def encode(self, payloads): return list(payloads)\n"
        "    async def decode(self, payloads): return list(payloads)\n"
        "class here:\n"
        "    instance = Codec()\n"
        "number = int\n"
        "def broken(): raise RuntimeError('no key')\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "envelope.toml").write_text(
        'key = "localfile:///nowhere"\nlegacy_codecs = ["made_before:Codec", "made_before:here.instance"]\n', "utf-8"
    )
    monkeypatch.setattr("envelope_codec.keys.key_sets.master_key", lambda uri: FakeKms())
    config = EnvelopeConfig.from_file(tmp_path / "envelope.toml")
    with EnvelopePlugin(config) as plugin:
        import made_before  # type: ignore[import-not-found]

        assert [type(one) for one in plugin.config.legacy_codecs] == [made_before.Codec] * 2
        assert plugin.config.legacy_codecs[1] is made_before.here.instance
    for text, said in {
        "made_before:missing": "AttributeError",
        "made_before:number": "is no PayloadCodec, and makes none",
        "made_before:broken": "RuntimeError: no key",
        "made_nowhere:Codec": "ModuleNotFoundError",
    }.items():
        with pytest.raises(ConfigurationError, match=f"legacy_codecs: '{text}' .*{said}"):
            EnvelopePlugin(FakeKms(), legacy_codecs=[text])
    sys.modules.pop("made_before")


@pytest.mark.parametrize("given", ["no colon", "a b:c", 7, Reversing, None])
def test_what_is_no_codec_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"legacy_codecs\.0"):
        EnvelopeConfig(key=FakeKms(), legacy_codecs=[given])


# --- what Temporal writes in clear itself -----------------------------------------------------------------------------


def message(value: Any, encoding: bytes = b"binary/protobuf", **metadata: bytes) -> Payload:
    name = value.DESCRIPTOR.full_name.encode()
    return Payload(metadata={"encoding": encoding, "messageType": name, **metadata}, data=value.SerializeToString())


MARK = {"__temporal_system_payload": b"true"}
RUN_ID = "01a221ae-1d45-7688-b558-f47095d12542"


def words(text: str, **metadata: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain", **metadata}, data=f'"{text}"'.encode())


REFERENCE = JSONProtoPayloadConverter().to_payload(ExternalStorageReference(driver_name="s3"))
assert REFERENCE is not None


@pytest.mark.parametrize(
    "payload",
    [
        message(SignalWithStartWorkflowExecutionResponse()),
        message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, started=True)),
        words(f"terminated by new runID: {RUN_ID}"),
        words("terminated by version: -24"),
        words("transaction size of 4500000 bytes exceeds limit of 4194304 bytes"),
        words("ACTIVITY_ID_NOT_STARTED"),
    ],
)
async def test_what_temporal_writes_itself_passes_although_encryption_is_required(payload: Payload) -> None:
    assert describe_clear_payload(payload)
    assert await codec(require_encryption=True).decode([payload]) == [payload]


@pytest.mark.parametrize(
    "payload",
    [
        Payload(metadata={"encoding": b"json/plain", **MARK}, data=b'"text"'),
        Payload(metadata={"encoding": b"json/plain", "messageType": REFERENCE.metadata["messageType"]}, data=b"{}"),
        message(SignalWithStartWorkflowExecutionRequest()),
        message(SignalWithStartWorkflowExecutionResponse(), b"json/plain"),
        message(QueryWorkflowResponse()),
        message(QueryWorkflowResponse(), **MARK),
        Payload(
            metadata={"encoding": b"binary/protobuf", "messageType": b"temporal.api.common.v1.Payloads", **MARK},
            data=b"",
        ),
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"mine.Message"}, data=b"{}"),
        Payload(metadata={"encoding": b"binary/null"}),
        Payload(),
    ],
)
async def test_plaintext_dressed_up_as_temporals_own_is_refused(payload: Payload) -> None:
    assert describe_clear_payload(payload) is None
    await refused(payload)


async def refused(payload: Payload) -> None:
    with pytest.raises(EncryptionRequired):
        await codec(require_encryption=True).decode([payload])


ANSWER = message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, started=True))


def answer(data: bytes, **metadata: bytes) -> Payload:
    return Payload(metadata={**ANSWER.metadata, **metadata}, data=data)


@pytest.mark.parametrize(
    "payload",
    [
        answer(b'{"pay":"mallory"}'),  # no message at all
        answer(ANSWER.data + b"\x7a\x03pay"),  # an unknown field
        answer(ANSWER.data + ANSWER.data),  # the same field twice
        answer(ANSWER.data[:-2] + b"\x10\x00"),  # a default, written out
        answer(ANSWER.data[:-1] + b"\x81\x00"),  # a number in more bytes than it takes
        answer(ANSWER.data[-2:] + ANSWER.data[:-2]),  # in another order
        answer(ANSWER.data, more=b"x"),
        answer(ANSWER.data, **MARK),
        answer(ANSWER.data, __temporal_system_payload=b"pay mallory"),
        Payload.FromString(ANSWER.SerializeToString() + b"\x7a\x03pay"),
        Payload.FromString(words("ACTIVITY_ID_NOT_STARTED").SerializeToString() + b"\x7a\x03pay"),
        Payload.FromString(
            Payload(metadata={"encoding": b"json/plain"}, data=b'{"message":"","details":1}').SerializeToString()
            + b"\x7a\x03pay"
        ),
        REFERENCE,
        JSONProtoPayloadConverter().to_payload(ExternalStorageReference(driver_name="pay mallory")),
        Payload(
            metadata={"encoding": b"json/external-storage-reference"},
            data=b'{"driver_claim":{"claim_data":{"at":"pay mallory"}},"driver_name":"s3"}',
        ),
        message(SignalWithStartWorkflowExecutionResponse(run_id='{"pay":"mallory"}')),
        message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID + "\n")),
        message(SignalWithStartWorkflowExecutionRequest(workflow_id="mallory"), **MARK),
        message(SignalWithStartWorkflowExecutionRequest(), **MARK),
        Payload(metadata=REFERENCE.metadata, data=b'{"driverName": "s3"}'),
        Payload(metadata=REFERENCE.metadata, data=b'{"driverName":"s3","pay":"mallory"}'),
        Payload(metadata=REFERENCE.metadata, data=b'{"driver_name":"s3"}'),
        Payload(metadata=REFERENCE.metadata, data=b"mallory"),
        Payload(metadata={**REFERENCE.metadata, "more": b"x"}, data=REFERENCE.data),
        *(
            Payload(metadata={"encoding": b"json/external-storage-reference"}, data=data)
            for data in (
                b"{}",
                b'"mallory"',
                b'{"driver_claim":{"claim_data":{"at":7}},"driver_name":"s3"}',
                b'{"driver_claim":{"claim_data":{}},"driver_name":"s3","pay":"mallory"}',
                b'{"driver_claim":{"claim_data":{}}, "driver_name":"s3"}',
                b"[" * 100_000,
            )
        ),
        words(f"terminated by new runID: {RUN_ID}", more=b"x"),
        words(f"terminated by new runID: {RUN_ID} pay mallory"),
        words(f"pay mallory, terminated by new runID: {RUN_ID}"),
        words(f"terminated by new runID: {RUN_ID.upper()}"),
        words("terminated by new runID: mallory"),
        words(f"terminated by new runID: {RUN_ID}\n"),
        Payload(metadata={"encoding": b"json/plain"}, data=f'"terminated by new runID: {RUN_ID}"\n'.encode()),
        words("terminated by version: mallory"),
        words("ACTIVITY_ID_UNKNOWN"),
        words(""),
        Payload(metadata={"encoding": b"binary/plain"}, data=b'"ACTIVITY_ID_NOT_STARTED"'),
    ],
)
async def test_what_is_not_exactly_what_it_says_is_refused(payload: Payload) -> None:
    await refused(payload)


async def test_of_the_system_endpoints_answer_the_link_is_left_away() -> None:
    link = Link(workflow_event=Link.WorkflowEvent(namespace="default", workflow_id="pay mallory", run_id=RUN_ID))
    given = message(SignalWithStartWorkflowExecutionResponse(run_id=RUN_ID, started=True, signal_link=link))
    assert await codec(require_encryption=True).decode([given]) == [ANSWER]
    assert await codec().decode([given]) == [given]


NEXUS_DETAILS = [
    b'{"message":"","metadata":{"k":"pay mallory"}}',
    b'{"message":"","details":"pay mallory"}',
    b'{"message":"","metadata":{},"details":{"pay":"mallory"},"cause":{"message":"mallory"}}',
]
NOT_NEXUS_DETAILS = [
    b'{"message":""}',
    b'{"message":"","cause":{"message":"mallory"}}',
    b'{"message":"mallory","details":1}',
    b'{"message":"","details":1,"pay":"mallory"}',
    b'{"message":"","metadata":{"k":1}}',
    b'{"message":"","metadata":[]}',
    b'{"details":1,"message":""}',
    b'{"message":"",',
    b'{"message":"","details":' + b"[" * 100_000,
]


@pytest.mark.parametrize("data", NEXUS_DETAILS)
async def test_details_from_outside_temporal_block_no_workflow_and_say_nothing(data: bytes) -> None:
    given = Payload(metadata={"encoding": b"json/plain"}, data=data)
    [passed] = await codec(require_encryption=True).decode([given])
    assert passed.data == b'"removed: not encrypted"'
    passed.data = b"changed by who got it"
    [again] = await codec(require_encryption=True).decode([given])
    assert again.data == b'"removed: not encrypted"'
    assert await codec().decode([given]) == [given]


@pytest.mark.parametrize("data", NOT_NEXUS_DETAILS)
async def test_what_looks_like_details_from_outside_temporal_is_refused(data: bytes) -> None:
    await refused(Payload(metadata={"encoding": b"json/plain"}, data=data))
