"""``envelope-codec inspect``: what it says of payloads, histories, and of input that is neither."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse
from temporalio.api.common.v1 import Header, Memo, Payload, Payloads, SearchAttributes
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure, ResetWorkflowFailureInfo
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    History,
    HistoryEvent,
    MarkerRecordedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.sdk.v1 import ExternalStorageReference, UserMetadata

from envelope_codec import EnvelopeCodec, EnvelopeConfig, MalformedEnvelope
from envelope_codec.cli import main
from envelope_codec.cli.inspection import document as inspect_document
from envelope_codec.cli.inspection.kind import Kind, judge
from envelope_codec.cli.inspection.place import Place, places_in
from envelope_codec.envelope import Purpose, Recipient, build_record, commit, parse, record_head, seal
from envelope_codec.storage.claim import Claim
from envelope_codec.testing import FakeKms
from tests.vectors.vector_files import Vector, load

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"marigold"')
CREATED = 1_700_000_000


class Outcome(NamedTuple):
    status: object
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(data: bytes | str | object, *arguments: str) -> Outcome:
        if not isinstance(data, (bytes, str)):
            data = json.dumps(data)
        given = data.encode() if isinstance(data, str) else data
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        with pytest.raises(SystemExit) as left:
            main(["inspect", *arguments])
        return Outcome(left.value.code or 0, *capsys.readouterr())

    return run


def envelope(
    *recipients: Recipient,
    context: dict[str, str] | None = None,
    created: int = CREATED,
    purpose: Purpose = Purpose.WRAPPING_KEY,
) -> Payload:
    """A payload sealed under a record with a secret of zeros."""
    head = record_head(purpose, created, context or {"temporal-namespace": "billing"})
    key, record_id = commit(bytes(32), head)
    record = build_record(head, record_id, recipients or [Recipient("fakekms://a", "7", b"c" * 116)])
    wrapped, data = seal(PLAIN.SerializeToString(), record, key)
    extra = {} if wrapped is None else {"encryption-data-key": wrapped}
    return Payload(metadata={**record.metadata, **extra}, data=data)


def as_json(message: Any) -> Any:
    return MessageToDict(message)


def changed(payload: Payload, **metadata: bytes) -> Payload:
    copy = Payload()
    copy.CopyFrom(payload)
    for name, value in metadata.items():
        copy.metadata[name.replace("_", "-")] = value
    return copy


def history(*inputs: Payload) -> History:
    started = WorkflowExecutionStartedEventAttributes(input=Payloads(payloads=inputs))
    return History(events=[HistoryEvent(event_type=1, workflow_execution_started_event_attributes=started)])  # type: ignore[arg-type]


# What is found, and where


def test_the_header_of_an_envelope_is_told_whole(run: Run) -> None:
    sealed = envelope(
        Recipient("arn:aws:kms:us-east-1:111122223333:key/1", "", b"c" * 184),
        Recipient("hashivault://k", "12", b"d" * 99),
        context={"temporal-namespace": "billing", "tenant": "t-1"},
    )
    outcome = run(as_json(sealed), "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = parse(sealed.metadata, sealed.data)
    assert found is not None
    assert outcome.document == {
        "format": "envelope-codec/inspect-1",
        "payloads": [
            {
                "place": ".",
                "kind": "envelope",
                "encoding": "binary/envelope-v1",
                "version": 1,
                "record": 0,
                "data_bytes": len(sealed.data),
                "data_key": True,
            }
        ],
        "records": [
            {
                "purpose": "wrapping-key",
                "created": CREATED,
                "created_utc": "2023-11-14T22:13:20Z",
                "id": found.record.id.hex(),
                "context": {"temporal-namespace": "billing", "tenant": "t-1"},
                "recipients": [
                    {
                        "key_id": "arn:aws:kms:us-east-1:111122223333:key/1",
                        "key_version": "",
                        "ciphertext_bytes": 184,
                    },
                    {"key_id": "hashivault://k", "key_version": "12", "ciphertext_bytes": 99},
                ],
            }
        ],
        "failures_in_clear": [],
        "summary": {
            "payloads": 1,
            "envelopes": 1,
            "records": 1,
            "keys": [
                {"key_id": "arn:aws:kms:us-east-1:111122223333:key/1", "key_versions": [], "envelopes": 1},
                {"key_id": "hashivault://k", "key_versions": ["12"], "envelopes": 1},
            ],
            "malformed": 0,
            "later_versions": 0,
            "legacy": 0,
            "clear": 0,
            "clear_by_encoding": {},
            "temporal": 0,
            "temporal_by_name": {},
            "failures_in_clear": 0,
        },
    }


def test_people_read_the_same(run: Run) -> None:
    sealed = envelope(Recipient("fakekms://a", "7", b"c" * 116), context={"temporal-namespace": "b", "x": "y z"})
    outcome = run(as_json(history(sealed, sealed, PLAIN)))
    assert (outcome.status, outcome.err) == (0, "")
    found = parse(sealed.metadata, sealed.data)
    assert found is not None
    at = "events[0].workflowExecutionStartedEventAttributes.input.payloads"
    assert (
        outcome.out
        == f"""\
Envelopes
  {at}[0]
    version 1, record 1, {len(sealed.data)} bytes of data, a data key of its own
  {at}[1]
    version 1, record 1, {len(sealed.data)} bytes of data, a data key of its own

Record 1
  purpose             wrapping-key
  created             2023-11-14T22:13:20Z
  id                  {found.record.id.hex()}
  context             temporal-namespace = b
                      x = y z
  recipient 1         fakekms://a
                      version 7
                      116 bytes of ciphertext

Summary
  envelopes           2, under 1 distinct record
  needed keys         fakekms://a (version 7): 2 envelopes
  in clear            1
                      1 json/plain, first
                      {at}[2]
"""
    )


def test_direct_mode_and_odd_times_are_told(run: Run) -> None:
    direct = envelope(purpose=Purpose.DATA_KEY, created=2**64 - 1)
    document = run(as_json(direct), "--json").document
    assert document["payloads"][0]["data_key"] is False
    assert document["records"][0]["purpose"] == "data-key"
    assert (document["records"][0]["created"], document["records"][0]["created_utc"]) == (2**64 - 1, None)
    text = run(as_json(direct)).out
    assert "no data key: direct mode" in text
    assert "18446744073709551615 s after 1970, which is no date" in text


E = as_json(envelope())
EVENT = as_json(history(envelope()).events[0])
IN_EVENT = "workflowExecutionStartedEventAttributes.input.payloads[0]"


@pytest.mark.parametrize(
    ("document", "places"),
    [
        (json.dumps(E), ["."]),
        (json.dumps([E, E]), ["[0]", "[1]"]),
        (json.dumps({"payloads": [E]}), ["payloads[0]"]),
        (json.dumps(EVENT), [IN_EVENT]),
        (json.dumps([EVENT, EVENT]), [f"[0].{IN_EVENT}", f"[1].{IN_EVENT}"]),
        (json.dumps({"events": [EVENT]}), [f"events[0].{IN_EVENT}"]),
        (json.dumps({"history": {"events": [EVENT]}, "nextPageToken": ""}), [f"history.events[0].{IN_EVENT}"]),
        ("\n".join(json.dumps(one) for one in (E, EVENT, {"events": [EVENT]})), ["[0]", f"[1].{IN_EVENT}", "[2]"]),
        ("\n" + json.dumps(E, indent=2) + "\n\n" + json.dumps(E, indent=2) + "\n", ["[0]", "[1]"]),
        (json.dumps({"a b": [{"c": E}], "é": E}), ['["a b"][0].c', '["\\u00e9"]']),
        (json.dumps({"memo": {"fields": {"x": E}}}), ["memo.fields.x"]),
    ],
)
def test_every_form_of_input_is_read(run: Run, document: str, places: list[str]) -> None:
    outcome = run(document, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = [one["place"] for one in outcome.document["payloads"]]
    assert [place.startswith(start) for place, start in zip(found, places, strict=True)] == [True] * len(places)
    assert {one["kind"] for one in outcome.document["payloads"]} == {"envelope"}
    assert outcome.document["summary"]["records"] == 1


def test_snake_case_is_read_as_well(run: Run) -> None:
    document = MessageToDict(history(envelope(), PLAIN), preserving_proto_field_name=True)
    summary = run(document, "--json").document["summary"]
    assert (summary["envelopes"], summary["clear"]) == (1, 1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_what_powershell_writes_is_read(run: Run, encoding: str) -> None:
    assert run(json.dumps(E).encode(encoding), "--json").document["summary"]["envelopes"] == 1


def test_a_file_is_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text(json.dumps(E))
    assert run(b"", str(tmp_path / "history.json"), "--json").document["summary"]["envelopes"] == 1
    assert run(json.dumps(E), "-", "--json").document["summary"]["envelopes"] == 1


def test_base64_of_either_alphabet_padded_or_not_is_read(run: Run) -> None:
    payload = Payload(metadata={"encoding": b"binary/plain"}, data=b"\xfb\xff\xfe\x01")
    for encoded in ("+//+AQ==", "-__-AQ", "-__-AQ=="):
        document = {"metadata": {"encoding": base64.b64encode(b"binary/plain").decode()}, "data": encoded}
        (place,) = places_in([document])
        assert place.payload == payload


def test_values_that_tools_print_in_place_of_payloads_are_counted(run: Run) -> None:
    started = {
        "input": ["marigold", None, {"a": 1}, {"_protoMessageType": "x.Y"}, {"metadata": {"a": "b"}}, [1], E],
        "memo": {"fields": {"n": None, "list": [1, 2], "sealed": E}},
        "header": {"fields": {"h": 7}},
    }
    document = run({"events": [{"eventType": "X", "workflowExecutionStartedEventAttributes": started}]}, "--json")
    summary = document.document["summary"]
    assert summary["envelopes"] == 2
    assert summary["clear_by_encoding"] == {"json/plain": 6, "binary/null": 2, "json/protobuf": 1}


def test_fields_and_events_that_a_later_server_adds_are_searched(run: Run) -> None:
    document = {"events": [{"eventType": "Z", "newEventAttributes": {"x": {"payloads": [E]}, "y": [E]}}]}
    places = [one["place"] for one in run(document, "--json").document["payloads"]]
    assert places == ["events[0].newEventAttributes.x.payloads[0]", "events[0].newEventAttributes.y[0]"]


def test_a_history_without_payloads_is_no_error(run: Run) -> None:
    outcome = run({"events": []})
    assert (outcome.status, outcome.out) == (0, "Summary\n  envelopes           0\n  in clear            0\n")


# What it makes of payloads


@pytest.mark.parametrize("vector", load(lambda vector: vector.expect == "MalformedEnvelope"), ids=lambda v: v.name)
def test_each_malformed_vector_is_shown_with_its_reason(vector: Vector) -> None:
    payload = Payload(metadata=vector.metadata, data=vector.data)
    with pytest.raises(MalformedEnvelope) as refused:
        parse(payload.metadata, payload.data)
    (place,) = places_in([as_json(payload)])
    assert judge(place).why == str(refused.value)
    later = vector.metadata.get("encoding", b"").startswith(b"binary/envelope-") and (
        vector.metadata["encoding"] != b"binary/envelope-v1"
    )
    assert judge(place).kind is (Kind.later_version if later else Kind.malformed)


@pytest.mark.parametrize(
    "vector", load(lambda vector: vector.expect in ("ok", "InvalidCiphertext")), ids=lambda v: v.name
)
def test_each_well_formed_vector_is_an_envelope(vector: Vector) -> None:
    (place,) = places_in([as_json(Payload(metadata=vector.metadata, data=vector.data))])
    assert judge(place).kind is Kind.envelope


@pytest.mark.parametrize("vector", load(lambda vector: vector.expect == "untouched"), ids=lambda v: v.name)
def test_what_is_no_envelope_is_not_taken_for_one(vector: Vector) -> None:
    payload = Payload(metadata=vector.metadata, data=vector.data)
    assert judge(Place(".", payload)).kind in (Kind.clear, Kind.legacy)


def test_something_malformed_is_status_1_and_named(run: Run) -> None:
    broken = changed(envelope(), encryption_data_key=b"short")
    outcome = run(as_json(history(envelope(), broken)))
    assert (outcome.status, outcome.err) == (1, "")
    assert "input.payloads[1]\n    malformed: the envelope's data key has the wrong length\n" in outcome.out
    assert "malformed           1\n" in outcome.out
    (_, told) = run(as_json(history(envelope(), broken)), "--json").document["payloads"]
    assert told["kind"] == "malformed"
    assert told["reason"] == "the envelope's data key has the wrong length"


def test_a_later_version_is_status_1_and_named_as_such(run: Run) -> None:
    later = changed(envelope(), encoding=b"binary/envelope-v2")
    outcome = run(as_json(later))
    assert outcome.status == 1
    assert "of a later version, binary/envelope-v2: the envelope is of a version that" in outcome.out
    document = run(as_json(later), "--json").document
    assert document["payloads"][0]["kind"] == "later-version"
    assert (document["summary"]["later_versions"], document["summary"]["malformed"]) == (1, 0)


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {"encoding": "!!!"}},
        {"metadata": {"encoding": E["metadata"]["encoding"]}, "data": "*"},
        {"metadata": {"encoding": E["metadata"]["encoding"]}, "data": 7},
        {"metadata": {"encoding": "A"}, "data": ""},
        {"metadata": {"encoding": "YQ==", "\ud800": "YQ=="}, "data": ""},
    ],
)
def test_wrong_base64_is_a_malformed_payload(run: Run, document: object) -> None:
    outcome = run(document)
    assert (outcome.status, outcome.err) == (1, "")
    assert "malformed: its metadata and data must be base64" in outcome.out


def test_what_a_legacy_codec_sealed_is_told_from_plaintext(run: Run) -> None:
    old = Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"test"}, data=b"x" * 40)
    outcome = run(as_json(history(old, PLAIN)))
    assert "legacy codec        1, binary/encrypted\n" in outcome.out
    summary = run(as_json(history(old, PLAIN)), "--json").document["summary"]
    assert (summary["legacy"], summary["clear"]) == (1, 1)


def test_what_temporal_writes_in_clear_is_named_as_such(run: Run) -> None:
    started = WorkflowExecutionStartedEventAttributes(
        search_attributes=SearchAttributes(indexed_fields={"City": PLAIN}),
        input=Payloads(payloads=[Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"{}")]),
    )
    events = [
        HistoryEvent(event_type=1, workflow_execution_started_event_attributes=started),  # type: ignore[arg-type]
        *(
            HistoryEvent(
                event_type=27,  # type: ignore[arg-type]
                marker_recorded_event_attributes=MarkerRecordedEventAttributes(
                    marker_name=name,
                    details={entry: Payloads(payloads=[PLAIN]), "result": Payloads(payloads=[envelope()])},
                ),
            )
            for name, entry in (("core_local_activity", "data"), ("core_patch", "patch-data"))
        ),
    ]
    summary = run(as_json(History(events=events)), "--json").document["summary"]
    assert (summary["envelopes"], summary["clear"], summary["temporal"]) == (2, 0, 4)
    assert summary["temporal_by_name"] == {
        "search attribute": 1,
        "reference to external storage": 1,
        "marker of the SDK's core": 2,
    }


def test_a_marker_of_the_users_own_is_in_clear(run: Run) -> None:
    marker = MarkerRecordedEventAttributes(marker_name="mine", details={"data": Payloads(payloads=[PLAIN])})
    core = MarkerRecordedEventAttributes(marker_name="core_patch", details={"data": Payloads(payloads=[PLAIN])})
    for one in (marker, core):
        event = HistoryEvent(event_type=27, marker_recorded_event_attributes=one)  # type: ignore[arg-type]
        assert run(as_json(event), "--json").document["summary"]["clear"] == 1


def test_memo_header_and_metadata_in_clear_are_found(run: Run) -> None:
    started = WorkflowExecutionStartedEventAttributes(
        memo=Memo(fields={"a": PLAIN}), header=Header(fields={"b": PLAIN})
    )
    event = HistoryEvent(
        event_type=1,  # type: ignore[arg-type]
        workflow_execution_started_event_attributes=started,
        user_metadata=UserMetadata(summary=PLAIN),
    )
    places = {one["place"] for one in run(as_json(event), "--json").document["payloads"] if one["kind"] == "clear"}
    at = "workflowExecutionStartedEventAttributes"
    assert places == {f"{at}.memo.fields.a", f"{at}.header.fields.b", "userMetadata.summary"}


@pytest.mark.parametrize(
    ("failure", "in_clear"),
    [
        (Failure(message="marigold"), True),
        (Failure(stack_trace="marigold"), True),
        (Failure(message="Worker shutting down", stack_trace="marigold"), True),
        (Failure(message="Encoded failure", encoded_attributes=envelope()), False),
        (Failure(message="activity StartToClose timeout", source="Server"), False),
        (Failure(message="a reason to reset", reset_workflow_failure_info=ResetWorkflowFailureInfo()), False),
        (Failure(message="[TMPRL1100] Nondeterminism error: …"), False),
        (Failure(message="Failed encoding completion: the KMS did not answer"), False),
        (Failure(message="Activity task failed"), False),
        (Failure(application_failure_info=ApplicationFailureInfo(type="Sorry")), False),
    ],
)
def test_failure_messages_in_clear_are_told(run: Run, failure: Failure, in_clear: bool) -> None:
    outer = Failure(message="Encoded failure", encoded_attributes=envelope(), cause=failure)
    attributes = ActivityTaskFailedEventAttributes(failure=outer)
    event = HistoryEvent(event_type=13, activity_task_failed_event_attributes=attributes)  # type: ignore[arg-type]
    place = "activityTaskFailedEventAttributes.failure.cause"
    assert run(as_json(event), "--json").document["failures_in_clear"] == [place] * in_clear
    snake_case = MessageToDict(event, preserving_proto_field_name=True)
    assert len(run(snake_case, "--json").document["failures_in_clear"]) == in_clear
    assert (f"failures in clear   1, first {place}" in run(as_json(event)).out) is in_clear


async def test_real_envelopes_need_no_key(run: Run) -> None:
    kms = FakeKms("fakekms://real")
    codec = EnvelopeCodec(EnvelopeConfig(key=kms, context={"tenant": "t"}), namespace="prod")
    sealed = await codec.encode([PLAIN])
    codec.close()
    calls = kms.wraps, kms.unwraps
    document = run(as_json(sealed[0]), "--json").document
    assert document["records"][0]["context"] == {"temporal-namespace": "prod", "tenant": "t"}
    assert document["records"][0]["recipients"][0]["key_id"] == "fakekms://real"
    assert (kms.wraps, kms.unwraps) == calls


# References to external storage


def reference(claim_data: dict[str, str], driver: str = "envelope-codec") -> Payload:
    message = ExternalStorageReference(driver_name=driver, claim_data=claim_data)
    metadata = {"encoding": b"json/protobuf", "messageType": message.DESCRIPTOR.full_name.encode()}
    return Payload(metadata=metadata, data=MessageToJson(message).encode())


async def test_the_claim_in_a_reference_needs_its_key_too(run: Run) -> None:
    kms = FakeKms("fakekms://stored")
    codec = EnvelopeCodec(EnvelopeConfig(key=kms), namespace="prod")
    stored = reference(await Claim.of("an-id", b"stored bytes").sealed(codec))
    codec.close()
    shorthand = {**json.loads(stored.data), "_protoMessageType": stored.metadata["messageType"].decode()}
    in_full, as_value = as_json(history(stored)), {"eventType": 1, "activityTaskScheduledEventAttributes": {}}
    as_value["activityTaskScheduledEventAttributes"] = {"input": [shorthand]}
    for document in (in_full, as_value):
        outcome = run(document, "--json")
        assert outcome.status == 0
        whole, claim = outcome.document["payloads"]
        assert (whole["kind"], whole["name"]) == ("temporal", "reference to external storage")
        assert (claim["kind"], claim["place"]) == ("envelope", f"{whole['place']} (claim)")
        (key,) = outcome.document["summary"]["keys"]
        assert (key["key_id"], key["envelopes"]) == ("fakekms://stored", 1)


@pytest.mark.parametrize(
    "claim_data",
    [
        {},
        {"key": "s3://bucket/key"},
        {"envelope": "", "more": ""},
        {"envelope": "*"},
        {"envelope": base64.b64encode(b"\xff\xff").decode()},
        {
            "envelope": base64.b64encode(
                Payload(metadata=envelope().metadata, data=bytes(60_000)).SerializeToString()
            ).decode()
        },
    ],
)
def test_a_reference_of_another_drivers_has_no_claim_of_ours(run: Run, claim_data: dict[str, str]) -> None:
    outcome = run(as_json(reference(claim_data, "another")), "--json")
    assert outcome.status == 0
    assert [one["kind"] for one in outcome.document["payloads"]] == ["temporal"]


def test_a_malformed_claim_is_told(run: Run) -> None:
    broken = base64.b64encode(changed(envelope(), encryption_data_key=b"short").SerializeToString()).decode()
    outcome = run(as_json(reference({"envelope": broken})))
    assert outcome.status == 1
    assert "  . (claim)\n    malformed: the envelope's data key has the wrong length\n" in outcome.out


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"7", b'{"claimData": 7}', b"[" * 100_000, b"\xff"])
def test_a_reference_that_is_none_is_no_traceback(run: Run, data: bytes) -> None:
    stored = reference({})
    stored.data = data
    assert run(as_json(stored)).status == 0


# Hostile input

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b1m\u202e[bold red]\x7f\r"


def test_nothing_from_elsewhere_reaches_the_terminal_as_it_is(run: Run) -> None:
    sealed = envelope(
        Recipient(f"fakekms://{HOSTILE}", HOSTILE, b"c"), context={"temporal-namespace": "n", f"x{HOSTILE}": HOSTILE}
    )
    unknown = Payload(metadata={"encoding": HOSTILE.encode()})
    later = Payload(metadata={"encoding": b"binary/envelope-" + HOSTILE.encode()})
    document = {HOSTILE: [as_json(sealed), as_json(unknown), as_json(later), {"metadata": {"encoding": "!"}}]}
    outcome = run(document)
    assert outcome.status == 1
    assert not [char for char in outcome.out if not char.isprintable() and char != "\n"]
    spelled = r"\x1b]0;owned\x07\x1b[31m\x9b1m\u202e[bold red]\x7f\x0d"
    assert f"recipient 1         fakekms://{spelled}\n" in outcome.out
    assert f"x{spelled} =\n" in outcome.out  # and its value on the next line
    assert f"1 {spelled}, first" in outcome.out
    text = run(document, "--json").out
    assert text.isascii()
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert json.loads(text)["records"][0]["context"][f"x{HOSTILE}"] == HOSTILE


@pytest.mark.slow
def test_on_a_terminal_too(tmp_path: Path) -> None:
    """Styled by rich, and with nothing but rich's own styles."""
    file = tmp_path / "x.json"
    sealed = envelope(Recipient(f"fakekms://{HOSTILE}", "1", b"c"))
    file.write_text(json.dumps([as_json(sealed), as_json(PLAIN), {"metadata": {"encoding": "!"}}]))
    ours, theirs = pty.openpty()
    code = "from envelope_codec.cli import main; main()"
    done = subprocess.Popen(
        [sys.executable, "-c", code, "inspect", str(file)],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux's way to say that the other side is closed
        pass
    os.close(ours)
    assert done.wait(60) == 1
    text = shown.decode()
    assert "\x1b[1mSummary\x1b[0m" in text
    rest = text.replace("\r\n", "\n")
    for style in ("\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"):
        rest = rest.replace(style, "")
    assert not [char for char in rest if not char.isprintable() and char != "\n"]
    assert r"fakekms://\x1b]0;owned\x07\x1b[31m" in rest


@pytest.mark.slow
def test_characters_that_the_output_does_not_know_are_spelled_out(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(as_json(envelope(context={"temporal-namespace": "Zürich"}))))
    code = "from envelope_codec.cli import main; main()"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(file)], capture_output=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"temporal-namespace = Z\\xfcrich\n" in done.stdout


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the input is empty"),
        (b" \n\t ", "the input is empty"),
        (b"\x00\xff\xfe\x80\x81", "the input is not text: it must be JSON, in UTF-8"),
        (bytes(range(256)), "the input is not"),
        (b"not json", "the input is not JSON: line 1, column 1"),
        (b'{"payloads": [\n  oops', "the input is not JSON: line 2, column 3"),
        (json.dumps(E).encode()[:-1], "the input is not JSON: line 1, column"),
        (b"[" * 100_000, "the input is nested too deeply"),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "the input is nested too deeply"),
        (b'{"payloads":' * 300 + b"[]" + b"}" * 300, "the input is nested too deeply"),
        (b"9" * 10_000, "the input has a number that is too long"),
        (b"{}", "nothing in the input is a payload, or the history of a workflow"),
        (b"[]", "nothing in the input is a payload, or the history of a workflow"),
        (b"null", "nothing in the input is a payload, or the history of a workflow"),
        (b'{"payloads": "none"}', "nothing in the input is a payload, or the history of a workflow"),
        (b'["a", 1, {"metadata": 3, "data": {}}]', "nothing in the input is a payload, or the history of a workflow"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_is_no_input_is_one_line_and_status_2(run: Run, data: bytes, said: str, options: tuple[str, ...]) -> None:
    outcome = run(data, *options)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"envelope-codec: {said}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("path", ["/nonexistent/\x1b[31m", ".", "a\0b", ""])
def test_a_file_that_cannot_be_read_is_one_line_and_status_2(run: Run, path: str) -> None:
    outcome = run(b"", path)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("envelope-codec: can't read ")
    assert outcome.err.count("\n") == 1
    assert outcome.err[:-1].isprintable()


def test_more_than_the_limit_is_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_document, "MAX_BYTES", 1_000)
    assert run(b" " * 998 + b"{}").err == (
        "envelope-codec: nothing in the input is a payload, or the history of a workflow\n"
    )
    outcome = run(b" " * 10_000 + b"{}")
    assert (outcome.status, outcome.err) == (2, "envelope-codec: the input is larger than 1000 bytes\n")


@pytest.mark.parametrize(
    "document",
    [
        {"events": [1, None, "x", [[]], {"eventType": {}}]},
        {"events": [{"eventType": 1, "workflowExecutionStartedEventAttributes": [1]}]},
        {"events": [{"eventType": 1, "workflowExecutionStartedEventAttributes": {"input": 3, "memo": {"fields": 4}}}]},
        {"events": [{"eventType": 1, "markerRecordedEventAttributes": {"markerName": [], "details": {"": None}}}]},
        {"events": [{"eventType": 1, "activityTaskFailedEventAttributes": {"failure": {"message": 1, "cause": []}}}]},
        {"events": [{"eventType": 1, "userMetadata": {"summary": None, "details": []}}]},
    ],
)
def test_a_history_of_the_wrong_types_is_no_traceback(run: Run, document: object) -> None:
    outcome = run(document)
    assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize(("causes", "status"), [(90, 0), (195, 0), (200, 2), (400, 2)])
def test_a_long_chain_of_causes_is_followed(run: Run, causes: int, status: int) -> None:
    text = '{"cause":' * causes + json.dumps({"message": "marigold", "encodedAttributes": E}) + "}" * causes
    event = '{"eventType": 13, "activityTaskFailedEventAttributes": {"failure": ' + text + "}}"
    Parse(event, HistoryEvent(), max_recursion_depth=1000)  # it is a message
    outcome = run(event, "--json")
    assert outcome.status == status
    if status:
        assert outcome.err == "envelope-codec: the input is nested too deeply\n"
    else:
        assert outcome.document["summary"]["envelopes"] == 1


@pytest.mark.slow
def test_it_loads_no_cloud_sdk_and_no_temporal_client(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(as_json(envelope(Recipient("arn:aws:kms:us-east-1:111122223333:key/1", "", b"c")))))
    code = """
import atexit, sys
from envelope_codec.cli import main
unwanted = {"boto3", "botocore", "hvac", "google.cloud", "google.cloud.kms", "temporalio.client"}
atexit.register(lambda: print(sorted(unwanted & sys.modules.keys())))
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(file)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps([E] * 20_000))
    code = "from envelope_codec.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "inspect", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
