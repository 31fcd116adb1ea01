"""What a scripted language model says, whatever library asks it; and what has to be set up to have it asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from temporalio import activity
from temporalio.plugin import SimplePlugin

QUESTION = "Where does Marigoldia govern?"
COUNTRY = "Marigoldia"
FACT = "the capital of Marigoldia"
"""What the tool says, which the model has to be told."""
ANSWER = "It is Marigold City."
FATAL = "Break at Marigoldia!"
"""A question at which the model breaks."""
BROKEN = "broken at Marigoldia"
NEEDLE = "Marigold"


@activity.defn
async def capital(country: str) -> str:
    """The capital of a country."""
    return f"the capital of {country}"


class Trial(NamedTuple):
    """A library's plugin, and a workflow that asks a scripted model by it.

    Attributes:
        plugin: the library's, with the model.
        workflow: its run takes a question and returns an answer.
        asked: what the model has been given, as text, one entry a call.
    """

    plugin: SimplePlugin
    workflow: Any
    asked: Sequence[str]


def says(given: object, asked: list[str]) -> str | None:
    """Note what the model is ``given``, and return its answer; None if it wants to use the tool first.

    Raises:
        RuntimeError: it was asked what it breaks at.
    """
    asked.append(str(given))
    if FATAL in asked[-1]:
        raise RuntimeError(BROKEN)
    return ANSWER if FACT in asked[-1] else None
