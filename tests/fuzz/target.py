"""A target: what is fuzzed, and what must hold whatever bytes it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

NAMES = (
    "claim",
    "envelope",
    "inner_payload",
    "key_uri",
    "keystore_row",
    "record",
    "server_body",
    "settings",
    "store_url",
)
"""Of all targets. Each is the module of this name in the folder ``targets``, which defines ``TARGET``."""


@dataclass(frozen=True)
class Target:
    """One target. Its module's docstring says what must hold.

    Attributes:
        check: tries one input. It raises anything, `AssertionError` above all, where something does not hold.
        seeds: makes inputs to begin with, by name: from the published vectors where there are fitting ones.
        words: what mutation puts into inputs.
        longest: bytes that an input has at most.
        sectioned: whether inputs are made of sections (`tests.fuzz.sections`), so that mutation keeps their form.
    """

    check: Callable[[bytes], object]
    seeds: Callable[[], Mapping[str, bytes]]
    words: Sequence[bytes] = ()
    longest: int = 4_096
    sectioned: bool = True


def load(name: str) -> Target:
    """Return the target of this name."""
    target: Target = import_module(f"tests.fuzz.targets.{name}").TARGET
    return target
