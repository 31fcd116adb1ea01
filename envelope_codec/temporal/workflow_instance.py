"""Workflow runners whose workflows hand over nothing in clear that no codec would see."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from envelope_codec.temporal.activation import refuse_system_payloads, unmark_commands
from envelope_codec.temporal.failure_attributes import hide
from envelope_codec.temporal.memo import apply_null_memos
from envelope_codec.temporal.payload_walk import is_repeated, value_type
from envelope_codec.temporal.store_target import Fate, Run, ended_well, find_fate, find_local, is_local, mark
from envelope_codec.temporal.untouched import Untouched

_Paths: TypeAlias = "list[tuple[str, bool, _Paths | None]]"
"""The fields of a message type that lead to failures: the field's name, whether it is a list or a map, and the paths
from there. None stands for a field that is a failure.
"""


class _Guarding:
    """Is mixed into a runner's own class, and guards each of its workflow instances."""

    __slots__ = ()
    screens: ClassVar[bool] = False

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Make an instance, and guard it."""
        return GuardedInstance(super().create_instance(det), screens=self.screens)  # type: ignore[misc]


class _Delegate(WorkflowRunner):
    """Delegates to a runner whose class can't be extended."""

    def __init__(self, runner: WorkflowRunner) -> None:
        self.runner = runner

    def prepare_workflow(self, defn: Any) -> None:
        """Have the runner prepare the workflow."""
        self.runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Have the runner make an instance."""
        return self.runner.create_instance(det)

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        """Tell the runner which exceptions fail a workflow."""
        self.runner.set_worker_level_failure_exception_types(types)


class GuardedInstance(WorkflowInstance):
    """A workflow instance whose completions hold nothing that would leave in clear by mistake.

    There is no failure in clear: the SDK leaves failures in commands that it could not finish, and writes the words of
    exceptions into others. There is no null memo field that would be sealed, and no payload that the SDK would keep
    from being sealed.

    It also tells drivers of external storage what Temporal would not keep: commands that a replay repeats, answers to
    queries, and what local activities are given.

    Args:
        instance: the SDK's.
        screens: whether to refuse an activation with a message in it that the SDK has let past every codec.
    """

    def __init__(self, instance: WorkflowInstance, *, screens: bool = False) -> None:
        self._instance = instance
        self._screens = screens
        self._untouched = Untouched()
        self._fate = Fate.SENT
        self._local: frozenset[int] = frozenset()
        self._run = Run()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instance, name)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """Screen the activation, run the workflow, and guard what it hands over.

        Raises:
            EncryptionRequired: the activation was refused. This fails the workflow task.
        """
        self._forget()  # until the workflow has ended well
        try:
            fate = find_fate(act)
            if any(job.HasField("remove_from_cache") for job in act.jobs):
                self._run = Run()  # this frees the other, at once
            if self._screens:
                refuse_system_payloads(act)
            completion = self._instance.activate(act)
        finally:
            del act  # an exception takes this frame along, and the activation is in clear
        for failure in find_failures(completion):
            hide(failure)
        unmark_commands(completion)
        # Held until the next activation, which does not come before this one's completion was sent.
        self._untouched.hold(apply_null_memos(completion))
        if ended_well(completion):
            self._fate, self._local = fate, find_local(completion)
        return completion

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        """Ask the SDK's instance."""
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        """Ask the SDK's instance, and mark the answer. The SDK asks before each store."""
        fate = Fate.LOCAL if is_local(command_info, self._local) else self._fate
        return mark(self._instance.get_external_store_context(command_info), fate, self._run)

    def get_info(self) -> Any:
        """Ask the SDK's instance. The SDK asks before it decodes an activation.

        If decoding fails, there is no call of `activate`. So what the last activation has left ends here.
        """
        self._forget()
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        """Ask the SDK's instance."""
        return self._instance.get_thread_id()

    def _forget(self) -> None:
        """Mark nothing of what the workflow hands over."""
        self._fate = Fate.SENT
        self._local = frozenset()


def guard_runner(runner: WorkflowRunner, *, screens: bool = False) -> WorkflowRunner:
    """Return a runner like ``runner`` whose workflows hand over nothing in clear that no codec would see.

    The result is of a subclass of the runner's own class, and shares its state. The SDK and other plugins ask for
    `SandboxedWorkflowRunner`, and make changed copies by `dataclasses.replace`.

    Args:
        runner: anyone's.
        screens: whether workflows are also given nothing that no codec has seen. For where encryption is required.
    """
    if isinstance(runner, _Guarding) and runner.screens >= screens:
        return runner
    try:
        made = object.__new__(_make_guarding_class(type(runner), screens))
        object.__setattr__(made, "__dict__", runner.__dict__)
    except Exception:  # a class may object in any way
        return guard_runner(_Delegate(runner), screens=screens)
    return made


def is_guarded_runner(runner: object) -> bool:
    """Whether `guard_runner` made ``runner``, or what it is a copy of."""
    return isinstance(runner, _Guarding)


@lru_cache(maxsize=64)
def _make_guarding_class(runner: type[WorkflowRunner], screens: bool) -> type[WorkflowRunner]:
    body = {"__slots__": (), "__module__": runner.__module__, "__doc__": runner.__doc__, "screens": screens}
    metaclass: Any = type(runner)
    return cast(type[WorkflowRunner], metaclass(runner.__name__, (_Guarding, runner), body))


def find_failures(completion: WorkflowActivationCompletion) -> Iterator[Failure]:
    """Yield every failure that stands anywhere in ``completion``, without its causes."""
    return _walk(completion, _PATHS)


def _walk(message: Message, paths: _Paths) -> Iterator[Failure]:
    for name, repeated, further in paths:
        if not repeated and not message.HasField(name):
            continue
        value = getattr(message, name)
        for one in (value.values() if hasattr(value, "values") else value) if repeated else (value,):
            if further is None:
                yield one
            else:
                yield from _walk(one, further)


def _find_paths(descriptor: Descriptor, known: dict[str, _Paths]) -> _Paths:
    """Return the fields of a message type that lead to failures, by the type's own description."""
    paths = known.setdefault(descriptor.full_name, [])
    for field in descriptor.fields:
        found = value_type(field)
        if found is None or not _leads_to_failure(found, set()):
            continue
        if found.full_name == Failure.DESCRIPTOR.full_name:
            paths.append((field.name, is_repeated(field), None))
        else:
            further = known[found.full_name] if found.full_name in known else _find_paths(found, known)
            paths.append((field.name, is_repeated(field), further))
    return paths


def _leads_to_failure(descriptor: Descriptor | None, seen: set[str]) -> bool:
    if descriptor is None or descriptor.full_name in seen:
        return False
    if descriptor.full_name == Failure.DESCRIPTOR.full_name:
        return True
    seen.add(descriptor.full_name)
    return any(_leads_to_failure(value_type(field), seen) for field in descriptor.fields)


_PATHS = _find_paths(WorkflowActivationCompletion.DESCRIPTOR, {})
