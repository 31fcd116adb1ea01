"""Histories of a Temporal server, as the doctor counts what they hold."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    HistoryEvent,
    WorkflowExecutionStartedEventAttributes,
)

from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.cli.doctor.finding import Finding
from envelope_codec.cli.doctor.histories import History, Reading
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.doctor.survey_findings import survey_findings

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"marigold"')


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
