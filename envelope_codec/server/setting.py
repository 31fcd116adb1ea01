"""Types of the server's settings, and the words for wrong ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from envelope_codec._grammar import Bytes, OneOrMore
from envelope_codec.kms import show_value
from envelope_codec.server.web.address import Address

_LONGEST_PATTERN = 256

OFF = "off"
"""Stands for no rate limit."""


def _check_pattern(value: Any) -> Any:
    if not isinstance(value, str) or not value or "[" in value or len(value) > _LONGEST_PATTERN:
        raise ValueError(
            f"{show_value(value)} is no pattern: give up to {_LONGEST_PATTERN} characters, with * for any number of "
            "others and ? for one"
        )
    return value


def _check_addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        Address.parse(text)
    return value


def _check_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        if text != "*" and not re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", text):
            raise ValueError(
                f"{show_value(text)} is no origin: give scheme, host and, unless it is the scheme's own, port, in "
                "lower case and with nothing behind, as https://cloud.temporal.io"
            )
    return value


def _check_url(value: str | None) -> str | None:
    if value is not None and (urlsplit(value).scheme not in ("http", "https") or not value.isprintable()):
        raise ValueError("give an http or https URL")
    return value.rstrip("/") if value else value


def _check_prefix(value: str) -> str:
    if value.strip("/") and not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", value.rstrip("/")):
        raise ValueError("give a path that begins with a slash, such as /codec")
    return value.rstrip("/")


def _check_rate(value: str) -> str:
    if value != OFF and not re.fullmatch(r"[1-9]\d*/(?:second|minute|hour|day)", value):
        raise ValueError(f'{show_value(value)} is no rate: give one such as "600/minute" or "10/second", or "off"')
    return value


Size = Annotated[Bytes, Field(ge=1)]
"""A number of bytes, or a text such as ``"16MiB"``."""

SizeOrZero = Annotated[Bytes, Field(ge=0)]
"""A number of bytes that may be 0, or a text such as ``"64KiB"``."""

Names = Annotated[tuple[str, ...], OneOrMore]
"""A list of texts, or a single text."""

Pattern = Annotated[str, BeforeValidator(_check_pattern)]
"""A text in which ``*`` stands for any characters and ``?`` for one."""

Patterns = Annotated[tuple[Pattern, ...], OneOrMore]
"""A list of patterns, or a single pattern."""


Addresses = Annotated[Names, AfterValidator(_check_addresses)]
"""A list of ``HOST:PORT``, or a single one."""

Origins = Annotated[Names, AfterValidator(_check_origins)]
"""A list of origins, or a single one; ``*`` for any."""

Url = Annotated[str | None, AfterValidator(_check_url)]
"""An http or https URL, or None. A slash at its end is dropped."""

Prefix = Annotated[str, AfterValidator(_check_prefix)]
"""The path in front of the server's own paths, or "". A slash at its end is dropped."""

Rate = Annotated[str, AfterValidator(_check_rate)]
"""A rate such as ``600/minute``, or `OFF`."""


class SettingsTable(BaseModel):
    """A table of settings. It takes no unknown setting, and no setting changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def explain(error: ValidationError, model: type[BaseModel], parts: Mapping[str, type[BaseModel]]) -> str:
    """Return what is wrong, setting by setting.

    Args:
        error: what pydantic found.
        model: the table that was checked.
        parts: the tables in its settings that are lists of tables, by the names of these settings.
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
    """Return what may have been meant by ``name``, which is no setting of ``model``."""
    near = difflib.get_close_matches(name, model.model_fields, 1)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(model.model_fields)})"
