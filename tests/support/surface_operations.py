"""Nexus operations that the handling side has."""

from __future__ import annotations

import nexusrpc
import nexusrpc.handler
from temporalio import nexus, workflow
from temporalio.exceptions import ApplicationError

from tests.support.surface_marks import mark


@nexusrpc.service(name="PoppyService")
class Service:
    reply: nexusrpc.Operation[list[str], list[str]] = nexusrpc.Operation(name="poppy-reply")
    work: nexusrpc.Operation[list[str], list[str]] = nexusrpc.Operation(name="poppy-work")
    decline: nexusrpc.Operation[list[str], None] = nexusrpc.Operation(name="poppy-decline")
    echo: nexusrpc.Operation[list[str], list[str]]


@workflow.defn(name="PoppyBacking")
class Backing:
    """What an operation runs in the other namespace."""

    def __init__(self) -> None:
        self._go_on = False

    @workflow.run
    async def run(self, order: list[str]) -> list[str]:
        secret, public, text = order
        await workflow.wait_condition(lambda: self._go_on)
        if not text:
            raise ApplicationError(
                mark(secret, "the failure of an operation's workflow"),
                type=mark(public, "the type of a workflow's error"),
            )
        return [text, mark(secret, "the result of a longer operation")]

    @workflow.signal
    def go_on(self) -> None:
        self._go_on = True


@nexusrpc.handler.service_handler(service=Service)
class Handler:
    def __init__(self) -> None:
        self.failed = False

    @nexusrpc.handler.sync_operation
    async def reply(self, ctx: nexusrpc.handler.StartOperationContext, order: list[str]) -> list[str]:
        """The first attempt fails."""
        secret, _, text = order
        if not self.failed:
            self.failed = True
            raise RuntimeError(mark(secret, "a failure of an operation that is tried again"))
        return [text, mark(secret, "the result of an operation"), ctx.headers["poppy-nexus-header"]]

    @nexus.workflow_run_operation
    async def work(self, ctx: nexus.WorkflowRunOperationContext, order: list[str]) -> nexus.WorkflowHandle[list[str]]:
        own = f"{nexus.info().task_queue} {'backing' if order[-1] else 'failing'}"
        return await ctx.start_workflow(Backing.run, order, id=own)

    @nexusrpc.handler.sync_operation
    async def echo(self, ctx: nexusrpc.handler.StartOperationContext, order: list[str]) -> list[str]:
        return order

    @nexusrpc.handler.sync_operation
    async def decline(self, ctx: nexusrpc.handler.StartOperationContext, order: list[str]) -> None:
        secret, public, text = order
        cause = ApplicationError(
            mark(secret, "the cause of an operation's error"), type=mark(public, "the type of an operation's error")
        )
        if text == "handler":
            raise nexusrpc.HandlerError(
                mark(secret, "a handler error"), type=nexusrpc.HandlerErrorType.BAD_REQUEST
            ) from cause
        raise nexusrpc.OperationError(
            mark(secret, "an operation's error"), state=nexusrpc.OperationErrorState.FAILED
        ) from cause
