"""A workflow that asks a language model, as Temporal's Google GenAI plugin lets it; the model is scripted."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from google.genai.types import GenerateContentConfig
    from temporalio.google_genai import TemporalAsyncClient, activity_as_tool
    from temporalio.workflow import ActivityConfig


@activity.defn
async def capital(country: str) -> str:
    """The capital of a country."""
    return f"the capital of {country}"


@workflow.defn
class Assistant:
    """Answers a question, with a tool at hand that is an activity."""

    @workflow.run
    async def run(self, question: str) -> str:
        patience = ActivityConfig(start_to_close_timeout=timedelta(seconds=60))
        answer = await TemporalAsyncClient().models.generate_content(
            model="scripted",
            contents=question,
            config=GenerateContentConfig(tools=[activity_as_tool(capital, activity_config=patience)]),
        )
        return answer.text or ""
