"""Where a stored payload belongs, with a mark on what a workflow hands over and Temporal does not keep."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any

from temporalio.api.enums.v1 import CommandType
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import StorageDriverStoreContext, StorageDriverWorkflowInfo


class Fate(Enum):
    """What becomes of the payloads that a workflow hands over at the end of an activation."""

    SENT = "Temporal may keep them"
    REPEATED = "the SDK's core compares the commands with those in the history, and drops them"
    ANSWER = "whoever made the query gets them, and nobody keeps them"
    LOCAL = "the SDK's core gives them to a local activity of this worker, and sends them nowhere"


class Run:
    """Stands for a workflow that a worker has at hand. It is freed when the worker gives the workflow up."""

    __slots__ = ("__weakref__",)


class MarkedTarget(StorageDriverWorkflowInfo):
    """A workflow, as drivers and selectors know it, with the fate of its payload.

    It equals the SDK's own target of that workflow, and looks and pickles like it, for what may log or keep it. Drivers
    and selectors of the application are given the SDK's own: see `unmark`.

    Attributes:
        fate: of the payload.
        run: the workflow that hands the payload over.
    """

    fate: Fate = Fate.SENT
    run: Run = Run()

    @classmethod
    def of(cls, target: StorageDriverWorkflowInfo, fate: Fate, run: Run) -> MarkedTarget:
        """Return ``target`` with these marks."""
        marked = cls(**_fields(target))
        object.__setattr__(marked, "fate", fate)
        object.__setattr__(marked, "run", run)
        return marked

    def plain(self) -> StorageDriverWorkflowInfo:
        """Return the SDK's own target of that workflow."""
        return StorageDriverWorkflowInfo(**_fields(self))

    def __eq__(self, other: object) -> bool:
        return self.plain() == (other.plain() if isinstance(other, MarkedTarget) else other)

    def __hash__(self) -> int:
        return hash(self.plain())

    def __repr__(self) -> str:
        return repr(self.plain())

    def __reduce__(self) -> tuple[Any, ...]:
        plain = self.plain()
        return dataclasses.replace, (plain,)


def find_fate(activation: WorkflowActivation) -> Fate:
    """Return the fate of what a workflow hands over in answer to ``activation``, if it ends well.

    An activation that only has queries says that it replays, too. The SDK's core puts queries into no other.
    """
    queries = [job.HasField("query_workflow") for job in activation.jobs]
    if not queries or any(queries):
        return Fate.ANSWER if queries and all(queries) else Fate.SENT
    return Fate.REPEATED if activation.is_replaying else Fate.SENT


def ended_well(completion: WorkflowActivationCompletion) -> bool:
    """Whether a workflow handed over commands. A failure goes to Temporal at once, in a replay as well."""
    return completion.WhichOneof("status") == "successful"


def find_local(completion: WorkflowActivationCompletion) -> frozenset[int]:
    """Return the numbers of the local activities that a workflow begins. It numbers all its activities in one row."""
    begun = completion.successful.commands
    return frozenset(one.schedule_local_activity.seq for one in begun if one.HasField("schedule_local_activity"))


def is_local(command_info: Any, numbers: frozenset[int]) -> bool:
    """Whether payloads go to one of these local activities. ``command_info`` is what the SDK tells of their command.

    These are input and headers. The SDK tells nothing with a summary, which is in the history.
    """
    kind = getattr(command_info, "command_type", None)
    return kind == CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK and command_info.command_seq in numbers


def mark(context: Any, fate: Fate, run: Run) -> Any:
    """Return the SDK's ``context`` for a store, with a marked target; ``context`` itself, if nothing is to be marked.

    Whatever this does not know stays as it is. So what it belongs to is stored.
    """
    target = getattr(context, "target", None)
    if fate is Fate.SENT or type(context) is not StorageDriverStoreContext:
        return context
    if type(target) is not StorageDriverWorkflowInfo:
        return context
    return dataclasses.replace(context, target=MarkedTarget.of(target, fate, run))


def unmark(context: Any) -> Any:
    """Return the SDK's ``context``, for a store or a choice, with the SDK's own target. For the application's code."""
    target = getattr(context, "target", None)
    return dataclasses.replace(context, target=target.plain()) if isinstance(target, MarkedTarget) else context


def _fields(target: StorageDriverWorkflowInfo) -> dict[str, Any]:
    return {field.name: getattr(target, field.name) for field in dataclasses.fields(StorageDriverWorkflowInfo)}
