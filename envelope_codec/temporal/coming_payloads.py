"""Coming payloads: those that will be opened soon, so that their keys can be asked for at once.

They are those of a history before its replay begins, and those of a workflow task before the first of them is opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from operator import attrgetter

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.converter import PayloadCodec

from envelope_codec.temporal.chain import find_codec
from envelope_codec.temporal.codec import AHEAD

_left: ContextVar[int] = ContextVar("left", default=AHEAD)
"""For how many more records of its workflow task the running asyncio task may ask ahead."""

# What most payloads come in. Commands are not in here: a replay makes them anew, and opens none of them.
_OPENED = {
    f"{event}_event_attributes": attrgetter(field)
    for event, field in {
        "workflow_execution_started": "input.payloads",
        "workflow_execution_signaled": "input.payloads",
        "workflow_execution_update_accepted": "accepted_request.input.args.payloads",
        "activity_task_completed": "result.payloads",
        "child_workflow_execution_completed": "result.payloads",
    }.items()
}


async def look_ahead(
    histories: AsyncIterator[WorkflowHistory], codec: PayloadCodec | None
) -> AsyncIterator[WorkflowHistory]:
    """Yield each of ``histories``, after its keys that are not at hand have been asked for.

    The SDK gives a codec the payloads of one workflow task after another. Each new record among them would be a wait of
    its own.
    """
    ours = find_codec(codec)
    async for history in histories:
        if ours is not None:
            ours.look_ahead(find_coming(history.events))
        yield history


def find_coming(events: Iterable[HistoryEvent]) -> Iterator[Payload]:
    """Yield payloads that a replay of ``events`` will open, in their order. Not all: a few kinds have most of them."""
    for event in events:
        name = event.WhichOneof("attributes") or ""
        payloads = _OPENED.get(name)
        if payloads is not None:
            yield from payloads(getattr(event, name))


def note_coming(payloads: Iterable[Payload], codec: PayloadCodec | None) -> None:
    """Ask for keys that are not at hand. Called for some payloads of a workflow task after others.

    No payload is kept. For all of the task together, as many records are asked for as `EnvelopeCodec.look_ahead` does:
    what is hostile may be many small groups.
    """
    left, ours = _left.get(), find_codec(codec)
    if left > 0 and ours is not None:
        rest = ours.look_ahead(payloads, left)
        if rest != left:
            _left.set(rest)


def end_coming() -> None:
    """Take note that the first of the payloads is opened: what comes after them belongs to something else."""
    if _left.get() != AHEAD:
        _left.set(AHEAD)
