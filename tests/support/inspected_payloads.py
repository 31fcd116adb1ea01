"""Payloads and documents to inspect, and what ``envelope-codec inspect`` prints of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import (
    History,
    HistoryEvent,
    WorkflowExecutionStartedEventAttributes,
)

from envelope_codec.cli import main
from envelope_codec.envelope import Purpose, Recipient, build_record, commit, record_head, seal

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


E = as_json(envelope())


HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b1m\u202e[bold red]\x7f\r"


def inspect_input(
    data: bytes | str | object,
    arguments: Sequence[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Outcome:
    """Give ``data``, as JSON if it is neither bytes nor text, to ``envelope-codec inspect`` on standard input."""
    if not isinstance(data, (bytes, str)):
        data = json.dumps(data)
    given = data.encode() if isinstance(data, str) else data
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    with pytest.raises(SystemExit) as left:
        main(["inspect", *arguments])
    return Outcome(left.value.code or 0, *capsys.readouterr())
