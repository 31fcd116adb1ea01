"""A workflow runner whose workflows get nothing that no codec has seen."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from envelope_codec.activation import refuse_system_payloads


class _Screening:
    """Mixed into a runner's own class."""

    __slots__ = ()

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See `WorkflowRunner.create_instance`."""
        return ScreenedInstance(super().create_instance(det))  # type: ignore[misc]


class ScreenedInstance(WorkflowInstance):
    """A workflow instance that is given no activation with a message in it that the SDK has let past every codec."""

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instance, name)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """See `WorkflowInstance.activate`. Raises `EncryptionRequired`, which fails the workflow task."""
        try:
            refuse_system_payloads(act)
            return self._instance.activate(act)
        finally:
            del act  # the frames of an error may be shown, and this is in clear

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


def screened(runner: WorkflowRunner) -> WorkflowRunner:
    """``runner``, whose workflows are `ScreenedInstance`.

    It is of a subclass of the runner's own class: the SDK and other plugins ask for `SandboxedWorkflowRunner`, and make
    changed copies by ``dataclasses.replace``. State is shared with ``runner``.
    """
    if isinstance(runner, _Screening):
        return runner
    made = object.__new__(_screening_class(type(runner)))
    object.__setattr__(made, "__dict__", runner.__dict__)
    return made


@lru_cache(maxsize=64)
def _screening_class(runner: type[WorkflowRunner]) -> type[WorkflowRunner]:
    body = {"__slots__": (), "__module__": runner.__module__, "__doc__": runner.__doc__}
    kind: Any = type(runner)
    return cast("type[WorkflowRunner]", kind(runner.__name__, (_Screening, runner), body))
