"""What a policy of an AWS resource allows: as much of the rules as this project's own policies use."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

_TESTS = {
    "Bool": lambda value, wanted: value == wanted,
    "NumericLessThan": lambda value, wanted: float(value) < float(wanted),
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": fnmatchcase,
}


class ResourcePolicy:
    """A policy as AWS keeps it. Unknown operators and elements are errors, not ignored."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.statements = document["Statement"]
        for statement in self.statements:
            unknown = statement.keys() - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
            assert not unknown, unknown

    def allows(self, who: str, action: str, resource: str = "*", /, **context: str) -> bool:
        """Whether a principal may do something. ``context`` has ``_`` for ``-``, and ``__`` for ``:``."""
        keys = {name.replace("__", ":").replace("_", "-"): value for name, value in context.items()}
        effects = {one["Effect"] for one in self.statements if _fits(one, who, action, resource, keys)}
        return effects == {"Allow"}


def _fits(statement: Mapping[str, Any], who: str, action: str, resource: str, keys: Mapping[str, str]) -> bool:
    principal = statement["Principal"]
    return (
        (principal == "*" or who in _listed(principal["AWS"]))
        and any(fnmatchcase(action, one) for one in _listed(statement["Action"]))
        and any(fnmatchcase(resource, one) for one in _listed(statement["Resource"]))
        and all(
            name in keys and any(_TESTS[operator](keys[name], wanted) for wanted in _listed(values))
            for operator, condition in statement.get("Condition", {}).items()
            for name, values in condition.items()
        )
    )


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
