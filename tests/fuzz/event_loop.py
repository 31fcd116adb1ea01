"""One event loop for all inputs of a target."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def run(call: Coroutine[Any, Any, T]) -> T:
    """Return what ``call`` returns."""
    return _loop().run_until_complete(call)
