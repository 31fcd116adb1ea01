"""How a suite makes a harness: called with the fixtures that its parameters name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def make(factory: Callable[..., T], request: pytest.FixtureRequest) -> T:
    """Call ``factory`` with the values of the fixtures that its parameters name."""
    names = [
        name
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return factory(**{name: request.getfixturevalue(name) for name in names})
