"""What a workflow hands over to be sent: failures without clear text, null memo fields as Temporal reads them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from envelope_codec.temporal.activation import refuse_system_payloads, unmark_commands
from envelope_codec.temporal.failure_attributes import hide
from envelope_codec.temporal.memo import settle_memos
from envelope_codec.temporal.untouched import Untouched

_Ways: TypeAlias = "list[tuple[str, bool, _Ways | None]]"
"""Fields that lead to failures: name, whether it is a list or a map, and the ways from there. None is a failure."""


class _Settling:
    """Mixed into a runner's own class: what its workflows hand over is settled before it is encoded."""

    __slots__ = ()
    screens: ClassVar[bool] = False

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See `WorkflowRunner.create_instance`."""
        return SettledInstance(super().create_instance(det), screens=self.screens)  # type: ignore[misc]


class _Delegate(WorkflowRunner):
    """For a runner whose class can't be extended."""

    def __init__(self, runner: WorkflowRunner) -> None:
        self.runner = runner

    def prepare_workflow(self, defn: Any) -> None:
        """See `WorkflowRunner.prepare_workflow`."""
        self.runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See `WorkflowRunner.create_instance`."""
        return self.runner.create_instance(det)

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        """See `WorkflowRunner.set_worker_level_failure_exception_types`."""
        self.runner.set_worker_level_failure_exception_types(types)


class SettledInstance(WorkflowInstance):
    """A workflow instance, whose completions have no failure in clear, no null memo field that would be sealed, and no
    payload that the SDK would keep from being sealed.

    The SDK leaves failures in commands that it could not finish, and writes the words of exceptions into others.

    Args:
        instance: the SDK's.
        screens: refuse activations with a message in them that the SDK has let past every codec.
    """

    def __init__(self, instance: WorkflowInstance, *, screens: bool = False) -> None:
        self._instance = instance
        self._screens = screens
        self._untouched = Untouched()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instance, name)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """See `WorkflowInstance.activate`. `EncryptionRequired`, if it is raised, fails the workflow task."""
        try:
            if self._screens:
                refuse_system_payloads(act)
            completion = self._instance.activate(act)
        finally:
            del act  # an exception takes this frame along, and the activation is in clear
        for failure in failures_in(completion):
            hide(failure)
        unmark_commands(completion)
        # Held until the next activation, which does not come before this one's completion was sent.
        self._untouched.hold(settle_memos(completion))
        return completion

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        """See `WorkflowInstance.get_serialization_context`."""
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        """See `WorkflowInstance.get_external_store_context`."""
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> Any:
        """See `WorkflowInstance.get_info`."""
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        """See `WorkflowInstance.get_thread_id`."""
        return self._instance.get_thread_id()


def settling(runner: WorkflowRunner, *, screens: bool = False) -> WorkflowRunner:
    """``runner``, whose workflows hand over nothing in clear that a codec does not see.

    With ``screens`` they are also given nothing that no codec has seen: for where encryption is required.

    It is of a subclass of the runner's own class: the SDK and other plugins ask for `SandboxedWorkflowRunner`, and make
    changed copies by `dataclasses.replace`. State is shared with ``runner``.
    """
    if isinstance(runner, _Settling) and runner.screens >= screens:
        return runner
    try:
        made = object.__new__(_settling_class(type(runner), screens))
        object.__setattr__(made, "__dict__", runner.__dict__)
    except Exception:  # a class may object in any way
        return settling(_Delegate(runner), screens=screens)
    return made


def settles(runner: object) -> bool:
    """Whether ``runner`` is one of `settling`, or a copy of it."""
    return isinstance(runner, _Settling)


@lru_cache(maxsize=64)
def _settling_class(runner: type[WorkflowRunner], screens: bool) -> type[WorkflowRunner]:
    body = {"__slots__": (), "__module__": runner.__module__, "__doc__": runner.__doc__, "screens": screens}
    metaclass: Any = type(runner)
    return cast(type[WorkflowRunner], metaclass(runner.__name__, (_Settling, runner), body))


def failures_in(completion: WorkflowActivationCompletion) -> Iterator[Failure]:
    """Every failure that stands anywhere in ``completion``, without its causes."""
    return _found(completion, _WAYS)


def _found(message: Message, ways: _Ways) -> Iterator[Failure]:
    for name, repeated, further in ways:
        if not repeated and not message.HasField(name):
            continue
        value = getattr(message, name)
        for one in (value.values() if hasattr(value, "values") else value) if repeated else (value,):
            if further is None:
                yield one
            else:
                yield from _found(one, further)


def _ways(descriptor: Descriptor, known: dict[str, _Ways]) -> _Ways:
    """The fields of a message type that lead to failures, by the type's own description."""
    ways = known.setdefault(descriptor.full_name, [])
    for field in descriptor.fields:
        kind = _kind(field)
        if kind is None or not _leads(kind, set()):
            continue
        if kind.full_name == Failure.DESCRIPTOR.full_name:
            ways.append((field.name, _repeated(field), None))
        else:
            further = known[kind.full_name] if kind.full_name in known else _ways(kind, known)
            ways.append((field.name, _repeated(field), further))
    return ways


def _repeated(field: Any) -> bool:
    """Protobuf 7 has no ``label`` any more, and old ones have no ``is_repeated``."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _leads(descriptor: Descriptor | None, seen: set[str]) -> bool:
    if descriptor is None or descriptor.full_name in seen:
        return False
    if descriptor.full_name == Failure.DESCRIPTOR.full_name:
        return True
    seen.add(descriptor.full_name)
    return any(_leads(_kind(field), seen) for field in descriptor.fields)


def _kind(field: FieldDescriptor) -> Descriptor | None:
    """The type of the messages in ``field``: of the values, where it is a map."""
    kind: Descriptor | None = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        kind = kind.fields_by_name["value"].message_type
    return kind


_WAYS = _ways(WorkflowActivationCompletion.DESCRIPTOR, {})
