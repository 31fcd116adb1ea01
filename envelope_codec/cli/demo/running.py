"""How a demo runs: its logs are kept off the screen, and a signal stops everything that it has started."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import deque
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from envelope_codec.cli.output import complain

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Do ``work`` and return its exit status, or 128 and the signal's number if a signal ended it.

    Only the first signal counts. ``work`` then cleans up undisturbed, and the process ends.
    """
    loop, task, received = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def interrupt(number: int, _: object) -> None:
        if not received:
            received.append(number)
            with suppress(RuntimeError):  # the work is done, and the loop is closed
                loop.call_soon_threadsafe(task.cancel)

    for number in _SIGNALS:
        signal.signal(number, interrupt)
    try:
        return await task
    except BaseException:
        if not received:
            raise
        _ignore_signals()
        complain("interrupted; everything is stopped and removed")
        return 128 + received[0]


def _ignore_signals() -> None:
    """Ignore signals until the process has ended.

    Python complains of a signal that arrives just before it is ignored. Nobody can do anything about that complaint, so
    it is not printed.
    """
    complain_of = sys.unraisablehook

    def leave_out_signals(unraisable: sys.UnraisableHookArgs) -> None:
        error = unraisable.exc_value
        # Python's own: it has no number of the system's, and belongs to no object.
        if not (isinstance(error, OSError) and error.errno is None and unraisable.object is None):
            complain_of(unraisable)

    sys.unraisablehook = leave_out_signals
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def explain(why: str, log: Iterable[str]) -> int:
    """Complain that the demo can't run, with the last lines of its log. Returns the exit status."""
    complain(f"the demo can't run: {why}")
    print(*log, sep="\n", end="\n" * bool(log), file=sys.stderr)
    return 2


def keep_logs() -> deque[str]:
    """Keep logs off the screen. The list that is returned always has the last three lines."""
    last: deque[str] = deque(maxlen=3)

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            last.append(f"{record.name}: {record.getMessage()}")

    logging.basicConfig(handlers=[Keep(logging.WARNING)], force=True)
    return last
