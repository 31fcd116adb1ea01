"""A workflow that asks a language model, as Temporal's plugin for Google's ADK lets it; the model is scripted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from google.adk.agents import LlmAgent
    from google.adk.models import BaseLlm, LLMRegistry
    from google.adk.models.llm_request import LlmRequest
    from google.adk.models.llm_response import LlmResponse
    from google.adk.runners import InMemoryRunner
    from google.genai.types import Content, Part
    from temporalio.google_adk import GoogleAdkPlugin, TemporalModel
    from temporalio.google_adk.workflow import activity_as_tool
    from temporalio.workflow import ActivityConfig

    from tests.support.model_script import COUNTRY, Trial, capital, says

_asked: list[str] = []


class Scripted(BaseLlm):  # type: ignore[misc] # it is installed for the tests of language models alone
    """A model that ADK finds by its name."""

    @classmethod
    def supported_models(cls) -> list[str]:
        return ["scripted-.*"]

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        answer = says(llm_request, _asked)
        part = Part(text=answer) if answer else Part.from_function_call(name="capital", args={"country": COUNTRY})
        yield LlmResponse(content=Content(role="model", parts=[part]))


@workflow.defn
class AdkAssistant:
    """Answers a question, with a tool at hand that is an activity."""

    @workflow.run
    async def run(self, question: str) -> str:
        once = ActivityConfig(
            start_to_close_timeout=timedelta(seconds=60), retry_policy=RetryPolicy(maximum_attempts=1)
        )
        agent = LlmAgent(
            name="Marigold_assistant",  # which becomes the summary of the model's activities
            model=TemporalModel("scripted-model", once),
            tools=[activity_as_tool(capital, **once)],
        )
        runner = InMemoryRunner(agent=agent, app_name="assistants")
        session = await runner.session_service.create_session(app_name="assistants", user_id="Ada")
        said = ""
        async for event in runner.run_async(
            user_id="Ada", session_id=session.id, new_message=Content(role="user", parts=[Part(text=question)])
        ):
            for part in (event.content and event.content.parts) or ():
                said = part.text or said
        return said


def trial() -> Trial:
    _asked.clear()
    LLMRegistry.register(Scripted)
    return Trial(GoogleAdkPlugin(), AdkAssistant, _asked)
