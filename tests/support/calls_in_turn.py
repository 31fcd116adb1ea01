"""One callback out of several."""

from __future__ import annotations

from collections.abc import Callable


def in_turn(*calls: Callable[[], object]) -> Callable[[], None]:
    """Return a function that makes these calls, one after another."""

    def call_each() -> None:
        for call in calls:
            call()

    return call_each
