"""A workflow that asks a language model, as Pydantic AI's plugin for Temporal lets it; the model is scripted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from pydantic_ai import Agent
    from pydantic_ai.durable_exec.temporal import PydanticAIPlugin, PydanticAIWorkflow, TemporalDurability
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    from tests.support.model_script import COUNTRY, Trial, says

    _asked: list[str] = []

    def _respond(messages: Any, info: Any) -> ModelResponse:
        answer = says(messages, _asked)
        parts = [TextPart(answer)] if answer else [ToolCallPart("capital", {"country": COUNTRY})]
        return ModelResponse(parts=parts)

    _once = ActivityConfig(start_to_close_timeout=timedelta(seconds=60), retry_policy=RetryPolicy(maximum_attempts=1))
    _agent = Agent(
        FunctionModel(_respond),
        name="assistant",
        instructions="Know Marigoldia.",
        capabilities=[TemporalDurability(activity_config=_once)],
    )

    @_agent.tool_plain  # type: ignore[untyped-decorator] # it is installed for the tests of language models alone
    async def capital(country: str) -> str:
        """The capital of a country."""
        return f"the capital of {country}"


@workflow.defn
class PydanticAssistant(PydanticAIWorkflow):  # type: ignore[misc] # as above
    """Answers a question, with a tool at hand that is an activity."""

    __pydantic_ai_agents__ = (_agent,)

    @workflow.run
    async def run(self, question: str) -> str:
        return str((await _agent.run(question)).output)


def trial() -> Trial:
    _asked.clear()
    return Trial(PydanticAIPlugin(), PydanticAssistant, _asked)
