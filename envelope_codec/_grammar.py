"""The grammar of settings: durations, sizes and lists in files, in environment variables and on a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_BYTES = {
    **{"": 1, "b": 1},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
    **{"kb": 10**3, "mb": 10**6, "gb": 10**9},
}


def _amount(text: str, units: Mapping[str, float]) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    if match and match[2] in units:
        return float(match[1]) * units[match[2]]
    try:
        return float(text)  # any other spelling of a number
    except ValueError:
        return None


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    seconds = _amount(value, _SECONDS)
    if seconds is None:
        raise ValueError('give a duration: seconds, or a text such as "90s", "5m", "24h" or "1d"')
    return seconds


def _bytes(value: Any) -> Any:
    if not isinstance(value, (str, bool)):
        return value
    size = _amount(value, _BYTES) if isinstance(value, str) else None
    if size is None or not size.is_integer() or "." in str(value):
        raise ValueError("give a size: a number of bytes, or a text such as 256KiB, 1MiB or 1MB")
    return int(size)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _listed_or_bool(value: Any) -> Any:
    return value if isinstance(value, str) and is_bool(value) else _listed(value)


def is_bool(text: str) -> bool:
    """Say whether ``text`` is a truth value, for settings that take a list as well."""
    return text.strip().lower() in ("true", "false", "1", "0")


def listed(text: str) -> list[str]:
    """Return the entries of a list in an environment variable: separated by commas, empty ones left out."""
    return [item.strip() for item in text.split(",") if item.strip()]


Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False)]
"""A duration: a number of seconds, or a text with a unit, ``s``, ``m``, ``h`` or ``d`` in any case."""

Bytes = Annotated[int, BeforeValidator(_bytes)]
"""A size: a number of bytes, or a text with a unit in any case. ``KiB`` is 1,024 bytes, ``kB`` 1,000."""

OneOrMore = BeforeValidator(_listed)
"""Makes a list of one out of a single text."""

OneOrMoreOrBool = BeforeValidator(_listed_or_bool)
"""Does the same for a setting where ``true`` may stand for all and ``false`` for none."""
