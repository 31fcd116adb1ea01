"""Tables of settings, made from the models that define them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_LENGTHS = ((3_600, "h"), (60, "m"))
_SIZES = ((2**20, "MiB"), (2**10, "KiB"))


def table(model: type[BaseModel], types: Mapping[str, str]) -> str:
    """Return a Markdown table of a model's settings, the one called ``key`` first.

    Args:
        model: each of its fields has a description.
        types: what the column ``type`` says of a setting where its annotation does not tell enough.
    """
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] != "key"):
        kind = types.get(name) or _type(field)
        rows.append(f"| `{name}` | {kind} | {_default(field, kind)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is tuple:
        return "list"
    if get_origin(annotation) is dict:
        return "map" if get_args(annotation)[1] is str else "map of settings"
    for kind, name in ((bool, "true or false"), (float, "duration"), (int, "number")):
        if annotation is kind:
            return name
    choices = [value for value in get_args(annotation) if isinstance(value, str)]
    return " or ".join(f'`"{choice}"`' for choice in choices) or "text"


def _default(field: FieldInfo, kind: str) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value in (None, (), {}, ""):
        return ""
    if isinstance(value, tuple):
        return ", ".join(f'`"{item}"`' for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{_in_units(value, _LENGTHS) or f'{value:g}s'}`"
    if kind == "size":
        return f"`{_in_units(value, _SIZES) or value}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _in_units(amount: float, units: Sequence[tuple[int, str]]) -> str:
    """Return the amount in the largest unit that gives a whole number, or an empty text if none does."""
    for size, unit in units:
        if amount >= size and amount % size == 0:
            return f"{amount / size:g}{unit}"
    return ""
