"""A workflow that asks a language model, as Temporal's plugin for OpenAI Agents lets it; the model is scripted."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from agents import Agent, Runner
    from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin
    from temporalio.openai_agents.testing import ResponseBuilders, TestModel, TestModelProvider
    from temporalio.openai_agents.workflow import activity_as_tool

    from tests.support.model_script import COUNTRY, Trial, capital, says


@workflow.defn
class OpenAIAssistant:
    """Answers a question, with a tool at hand that is an activity."""

    @workflow.run
    async def run(self, question: str) -> str:
        tool = activity_as_tool(capital, start_to_close_timeout=timedelta(seconds=60))
        agent: Agent[Any] = Agent(name="assistant", instructions="Know Marigoldia.", tools=[tool])
        return str((await Runner.run(agent, input=question)).final_output)


def trial() -> Trial:
    asked: list[str] = []
    model = TestModel(lambda: ResponseBuilders.output_message(""))

    async def respond(system_instructions: str | None, input: object, *_: object, **__: object) -> object:
        answer = says([system_instructions, input], asked)
        if answer is None:
            return ResponseBuilders.tool_call(json.dumps({"country": COUNTRY}), "capital")
        return ResponseBuilders.output_message(answer)

    model.get_response = respond
    once = ModelActivityParameters(
        start_to_close_timeout=timedelta(seconds=60), retry_policy=RetryPolicy(maximum_attempts=1)
    )
    plugin = OpenAIAgentsPlugin(model_params=once, model_provider=TestModelProvider(model))
    return Trial(plugin, OpenAIAssistant, asked)
