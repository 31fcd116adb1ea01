"""The runs of audits and rewraps themselves, which an audit leaves out: whether a workflow is what its type says.

Anybody can give a workflow such a type. One that holds anything else than such a run does is counted as all others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from google.protobuf.message import Message
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.service import RPCError

from envelope_codec.cli.audit.record_import import RecordImport
from envelope_codec.cli.audit.source_tally import tally_source
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import LARGEST, OWN_QUERY
from envelope_codec.cli.reading.reader import Reader, Source
from envelope_codec.errors import MalformedEnvelope

_ATTRIBUTES = "_event_attributes"
_OF_WORKFLOW = frozenset(
    f"workflow_execution_{what}{_ATTRIBUTES}"
    for what in (
        *("started", "completed", "failed", "timed_out", "canceled", "terminated", "cancel_requested"),
        "continued_as_new",
    )
)
_KINDS = ("workflow_task_", "activity_task_", "timer_")


class CountOne(Protocol):
    """Counts one source, as `tally_source` does."""

    async def __call__(self, reader: Reader, source: Source, importer: RecordImport | None = None, /) -> Tally: ...


def sources_besides(reader: Reader) -> list[tuple[AsyncIterator[Source], CountOne]]:
    """List what is in no window, and how each of it is counted: what is no workflow, and workflows of `OWN_TYPES`."""
    return [(reader.others(), tally_source), (reader.workflows(OWN_QUERY), tally_own)]


async def in_batches(sources: AsyncIterator[Source]) -> AsyncIterator[list[Source]]:
    """Yield ``sources``, at most `LARGEST` at a time."""
    batch: list[Source] = []
    async for source in sources:
        batch.append(source)
        if len(batch) == LARGEST:
            yield batch
            batch = []
    yield batch


async def tally_own(reader: Reader, source: Source, importer: RecordImport | None = None) -> Tally:
    """Count a workflow of a type of this package's own. One that is what its type says is left out.

    Raises:
        Stopped: as `tally_source`.
    """
    if await _is_own(reader, source):
        return Tally(own=1)
    return await tally_source(reader, source, importer)


async def _is_own(reader: Reader, source: Source) -> bool:
    listed: Any = source.listed
    if not source.id.startswith(f"{listed.type.name}/"):
        return False
    try:
        async for message in reader.messages(source):
            if not _is_of_run(message, listed.type.name):
                return False
    except (RPCError, MalformedEnvelope):  # whoever counts it sees what is wrong with it
        return False
    return True


def _is_of_run(message: Any, type: str) -> bool:
    if isinstance(message, WorkflowExecutionInfo):
        return not message.memo.fields
    history: Message | None = getattr(message, "history", message)
    events: Any = getattr(history, "events", ())
    return all(_is_event_of_run(event, type) for event in events)


def _is_event_of_run(event: HistoryEvent, type: str) -> bool:
    name = event.WhichOneof("attributes")
    if name is None or event.HasField("user_metadata"):
        return False
    if name == "activity_task_scheduled_event_attributes":
        return event.activity_task_scheduled_event_attributes.activity_type.name.startswith(f"{type}.")
    return name in _OF_WORKFLOW or name.startswith(_KINDS)
