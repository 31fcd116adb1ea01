"""Tracebacks in logs: those that go through this library and end in no error that it documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

_BEGINS = "Traceback (most recent call last):"
_OURS = re.compile(r'File "[^"]*/envelope_codec(?:_\w+)?/')
_LAST = re.compile(r"^(?:[\w.]+\.)?([A-Z]\w*)(?::|$)")

DOCUMENTED = frozenset({"KmsUnavailable", "KeyDenied", "StoreUnavailable", "StoreRefused"})
"""What the library says while a KMS or a datastore is out or refuses. Faults of a soak lead to no other error."""

NOT_OURS = frozenset({"CancelledError", "ApplicationError", "ActivityError", "ChildWorkflowError", "RPCError"})
"""What passes through frames of the library and is the application's, Temporal's or the event loop's."""


class Traceback(NamedTuple):
    """One traceback, without those that it is said to have come of or to have led to."""

    log: str
    error: str
    ours: bool
    text: str

    @property
    def violates(self) -> bool:
        return self.ours and self.error not in DOCUMENTED | NOT_OURS


def tracebacks(log: str, lines: Iterable[str]) -> list[Traceback]:
    """Every traceback in the lines of a log."""
    found: list[Traceback] = []
    block: list[str] | None = None
    for raw in lines:
        line = raw.rstrip("\n")
        bare = re.sub(r"^[\s|+-]*", "", line)
        if bare == _BEGINS:
            block = [line]
        elif block is not None:
            block.append(line)
            last = _LAST.match(bare) if not bare.startswith(("File ", "^", "~")) else None
            if last is not None and _indent(line) <= _indent(block[0]):
                text = "\n".join(block)
                found.append(Traceback(log, last[1], _OURS.search(text) is not None, text))
                block = None
            elif len(block) > 400:
                block = None
    return found


def count(found: Iterable[Traceback]) -> Counter[str]:
    """How many go through the library, by the errors that they end with."""
    return Counter(one.error for one in found if one.ours)


def _indent(line: str) -> int:
    return len(line) - len(re.sub(r"^[\s|+-]*", "", line))
