"""The workflow sandbox, which takes our modules from outside."""

from __future__ import annotations

import dataclasses
from importlib import metadata

from temporalio.worker import ReplayerConfig, WorkerConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from envelope_codec.kms import ENTRY_POINT_GROUP


def pass_modules_through(config: WorkerConfig | ReplayerConfig) -> None:
    """Have the sandbox in ``config``, if there is one, pass our modules and those of every provider, in place.

    A workflow's module may import them then, and the sandbox does not load them anew for each workflow.
    """
    runner = config.get("workflow_runner")
    if not isinstance(runner, SandboxedWorkflowRunner):
        return
    points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    modules = {"envelope_codec", *(point.module.split(".")[0] for point in points)}
    restrictions = runner.restrictions.with_passthrough_modules(*modules)
    config["workflow_runner"] = dataclasses.replace(runner, restrictions=restrictions)
