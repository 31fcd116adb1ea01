"""The sources of the server's settings: a table of a TOML file, and environment variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from envelope_codec.config import _from_text, read_toml
from envelope_codec.errors import ConfigurationError
from envelope_codec.server.setting import suggest

PREFIX = "ENVELOPE_CODEC_SERVER_"
_FILE = "ENVELOPE_CODEC_FILE"
_TABLE = "server"
_JSON = ("auth", "rules")


def read_file(path: str | Path) -> dict[str, Any]:
    """Return the table ``[server]`` of a TOML file, empty if the file has none.

    Raises:
        ConfigurationError: it is not a table, or the file can't be read.
    """
    table = read_toml(path).get(_TABLE, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{str(path)!r}: server: give a table, [server]")
    return dict(table)


def read_environment(variables: Mapping[str, str], model: type[BaseModel]) -> dict[str, Any]:
    """Return the settings of ``model`` in environment variables, and those in the file that the variables name.

    Raises:
        ConfigurationError: a variable is wrong. The text names it.
    """
    settings = read_file(variables[_FILE]) if variables.get(_FILE) else {}
    for variable, text in variables.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            field = model.model_fields.get(name)
            if field is None:
                raise ConfigurationError(f"{variable}: unknown setting{suggest(name, model)}")
            is_json = name in _JSON
            settings[name] = _parse_json(variable, text) if is_json else _from_text(variable, text, field.annotation)
    return settings


def _parse_json(variable: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{variable}: give a JSON list") from None
