"""Writes the tables of settings in docs/codec-server.md from the settings' own definitions.

Run: ``python docs/make_codec_server.py``. What stands between the marks of a table is replaced, the rest is left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.rule import Rule
from envelope_codec.server.config import ServerConfig

PAGE = Path(__file__).with_name("codec-server.md")

_TABLES: dict[str, type[BaseModel]] = {"server": ServerConfig, "auth": Issuer, "rules": Rule}
_TYPES = {
    "auth": "list of tables",
    "rules": "list of tables",
    "peers": "map of lists",
    "claims": "map of lists",
    "body_limit": "size",
    "max_body_bytes": "size",
    "max_body_bytes_per_caller": "size",
    "verbs": "list",
}


def page(text: str) -> str:
    """The page as it should be, from what it is."""
    for name, model in _TABLES.items():
        mark, end = f"<!-- settings: {name} -->\n", "<!-- end -->\n"
        before, _, rest = text.partition(mark)
        text = before + mark + _table(model) + end + rest.partition(end)[2]
    return text


def _table(model: type[BaseModel]) -> str:
    rows = ["", "| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        rows.append(f"| `{name}` | {_TYPES.get(name) or _type(field)} | {_default(field)} | {field.description} |")
    return "\n".join(rows) + "\n\n"


def _type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is tuple:
        return "list"
    if get_origin(annotation) is dict:
        return "map"
    for kind, name in ((bool, "true or false"), (float, "duration"), (int, "number")):
        if annotation is kind:
            return name
    choices = [value for value in get_args(annotation) if isinstance(value, str)]
    return " or ".join(f'`"{choice}"`' for choice in choices) or "text"


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}s`"
    if isinstance(value, int) and value >= 2**20:
        return f"`{value // 2**20}MiB`"
    if value in (None, (), {}, ""):
        return ""
    if isinstance(value, tuple):
        return ", ".join(f'`"{item}"`' for item in value)
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
