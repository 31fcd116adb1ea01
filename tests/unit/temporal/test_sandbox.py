"""The sandbox takes our modules and every provider's from outside."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from envelope_codec.kms import ENTRY_POINT_GROUP
from envelope_codec.temporal.sandbox import pass_modules_through


def test_the_sandbox_passes_us_and_every_provider_through() -> None:
    own = SandboxedWorkflowRunner()
    config: Any = {"workflow_runner": own}
    pass_modules_through(config)
    runner = config["workflow_runner"]
    providers = {point.module.split(".")[0] for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    assert len(providers) >= 4
    before = own.restrictions.passthrough_modules
    assert runner.restrictions.passthrough_modules - before == {"envelope_codec", *providers}
    assert own.restrictions.passthrough_modules is before, "the user's own stays as it is"


def test_another_runner_and_none_stay() -> None:
    unsandboxed = UnsandboxedWorkflowRunner()
    for given in ({"workflow_runner": unsandboxed}, {"workflow_runner": None}, {}):
        config: Any = dict(given)
        pass_modules_through(config)
        assert config == given
