"""How settings of the server are read: sizes, patterns, and what is said of wrong ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from envelope_codec._grammar import Bytes, OneOrMore
from envelope_codec.kms import shown_value

_LONGEST_PATTERN = 256


def _pattern(value: Any) -> Any:
    if not isinstance(value, str) or not value or "[" in value or len(value) > _LONGEST_PATTERN:
        raise ValueError(
            f"{shown_value(value)} is no pattern: give up to {_LONGEST_PATTERN} characters, with * for any number of "
            "others and ? for one"
        )
    return value


Size = Annotated[Bytes, Field(ge=1)]
"""Bytes, or texts such as ``"16MiB"``."""

Names = Annotated[tuple[str, ...], OneOrMore]
"""Texts, or a single one."""

Pattern = Annotated[str, BeforeValidator(_pattern)]
"""A text in which ``*`` stands for any characters and ``?`` for one."""

Patterns = Annotated[tuple[Pattern, ...], OneOrMore]
"""Patterns, or a single one."""


class Settings(BaseModel):
    """Settings that belong together; none beside them, and none changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def explain(error: ValidationError, model: type[BaseModel], parts: Mapping[str, type[BaseModel]]) -> str:
    """What is wrong, setting by setting.

    Args:
        error: what pydantic found.
        model: what it was checking.
        parts: the models of its settings that are lists of such.
    """
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        names = [str(part) for part in problem["loc"]]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            inner = parts.get(names[0], model) if len(names) > 1 else model
            message = f"unknown setting{suggest(names[-1], inner)}"
        problems.append(f"{'.'.join(('server', *names))}: {message}" if names else f"server.{message}")
    return "; ".join(problems)


def suggest(name: str, model: type[BaseModel]) -> str:
    """What may have been meant by the setting ``name`` that ``model`` has not."""
    near = difflib.get_close_matches(name, model.model_fields, 1)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(model.model_fields)})"
